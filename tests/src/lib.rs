//! Drives firmware in QEMU and compares it with the host.
