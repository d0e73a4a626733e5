//! How many daemons the larger tests have at once: on two cores a dozen daemons beside another dozen answer too late for anything.

use std::sync::{Condvar, Mutex};

/// A test that wants more than this has the machine's large tests to itself.
const DAEMONS: usize = 14;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN: Condvar = Condvar::new();

/// Room for some daemons, until it is dropped.
pub struct Room(usize);

/// Waits until there is room for so many.
pub fn take(daemons: usize) -> Room {
    let wanted = daemons.min(DAEMONS);
    let taken = TAKEN.lock().expect("nobody panics in here");
    let mut taken = GIVEN.wait_while(taken, |taken| *taken + wanted > DAEMONS).expect("nobody panics in here");
    *taken += wanted;
    Room(wanted)
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Ok(mut taken) = TAKEN.lock() {
            *taken -= self.0;
        }
        GIVEN.notify_all();
    }
}
