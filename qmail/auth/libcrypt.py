"""crypt(3) and getspnam(3) through ctypes: the standard library's own modules for them end with Python 3.12."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os

LIBCRYPT_NAMES = ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so")


class _ShadowEntry(ctypes.Structure):
    """The beginning of struct spwd."""

    _fields_ = [("name", ctypes.c_char_p), ("password", ctypes.c_char_p)]


def _load_crypt() -> ctypes.CDLL:
    for name in LIBCRYPT_NAMES:
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
    return ctypes.CDLL(None, use_errno=True)  # a C library that has crypt(3) in itself


def hash_password(password: bytes, setting: bytes) -> bytes | None:
    """crypt(3): the hash of `password` with the method and salt of `setting`; None when libcrypt knows no such method.

    Raises OSError(ENOSYS) where there is no crypt(3) at all.
    """
    function = getattr(_load_crypt(), "crypt", None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    function.restype = ctypes.c_char_p
    result: bytes | None = function(password, setting)
    return None if result is None or result.startswith(b"*") else result


def shadow_password(name: bytes) -> bytes | None:
    """The password field of the shadow entry of an account; None without one. Raises OSError (EACCES: may not look)."""
    library = ctypes.CDLL(None, use_errno=True)
    function = library.getspnam
    function.argtypes = [ctypes.c_char_p]
    function.restype = ctypes.POINTER(_ShadowEntry)
    ctypes.set_errno(0)
    entry = function(name)
    if not entry:
        number = ctypes.get_errno()
        if number in (0, errno.ENOENT, errno.ESRCH):
            return None
        raise OSError(number, os.strerror(number))
    password: bytes | None = entry.contents.password
    return password or b""
