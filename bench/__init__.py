"""The benchmark: our servers and their C peers in the same run, interleaved, as ratios. Run it with scripts/bench."""
