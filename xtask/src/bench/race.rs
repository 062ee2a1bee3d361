//! Contenders that take turns: whatever else the machine does meets all of them alike.

use std::thread::sleep;
use std::time::Duration;

use super::statistics::Rounds;

/// How long a turn waits, so that the threads of the one before have gone to sleep.
const PAUSE: Duration = Duration::from_millis(3);

/// Something whose steps are timed.
pub trait Contender {
    /// Milliseconds of each of `steps` steps, after `warm` that do not count.
    ///
    /// # Errors
    /// Why there are no times.
    fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String>;
}

/// How often and how long each contender runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Rounds, in each of which every contender has one turn.
    pub rounds: usize,
    /// Steps at the start of a turn that do not count: they bring the contender's data back into the caches.
    pub warm: usize,
    /// Timed steps of a turn.
    pub steps: usize,
}

/// Lets `contenders` take turns; the times of each, in their order.
///
/// # Errors
/// The first contender's failure.
pub fn race(contenders: &mut [&mut dyn Contender], turns: Turns) -> Result<Vec<Rounds>, String> {
    let mut times = vec![Rounds::default(); contenders.len()];
    for _ in 0..turns.rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            sleep(PAUSE);
            times.0.push(contender.turn(turns.warm, turns.steps)?);
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Noted<'a> {
        name: char,
        log: &'a RefCell<String>,
    }

    impl Contender for Noted<'_> {
        fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
            self.log.borrow_mut().push(self.name);
            assert_eq!(warm, 2);
            if self.log.borrow().len() > 6 { Err("tired".to_owned()) } else { Ok(vec![1.0; steps]) }
        }
    }

    #[test]
    fn contenders_alternate_and_a_failure_ends_the_race() {
        let log = RefCell::default();
        let (mut a, mut b) = (Noted { name: 'a', log: &log }, Noted { name: 'b', log: &log });
        let turns = Turns { rounds: 3, warm: 2, steps: 4 };
        let times = race(&mut [&mut a, &mut b], turns).unwrap();
        assert_eq!(*log.borrow(), "ababab");
        assert_eq!(times, vec![Rounds(vec![vec![1.0; 4]; 3]); 2]);
        assert_eq!(race(&mut [&mut b], turns).unwrap_err(), "tired");
    }
}
