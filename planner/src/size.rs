//! How many bytes a value takes in the log.
//!
//! Owns: the measure by which specs are refused and entries are cut. It counts, it keeps nothing.

use serde::Serialize;
use std::io::{self, Write};

struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Length in MessagePack with arrays for structs, the log's form. A value that cannot be encoded counts as endless.
pub(crate) fn encoded<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut count = Count(0);
    match rmp_serde::encode::write(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
