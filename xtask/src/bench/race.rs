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

/// Lets `contenders` take turns; the times of each, in their order. One that fails is out; the others go on.
pub fn race(contenders: &mut [&mut dyn Contender], turns: Turns) -> Vec<Result<Rounds, String>> {
    let mut times: Vec<_> = contenders.iter().map(|_| Ok(Rounds::default())).collect();
    for _ in 0..turns.rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let Ok(rounds) = times else { continue };
            sleep(PAUSE);
            match contender.turn(turns.warm, turns.steps) {
                Ok(round) => rounds.0.push(round),
                Err(reason) => *times = Err(reason),
            }
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Noted<'a> {
        name: char,
        log: &'a RefCell<String>,
        turns_left: usize,
    }

    impl Contender for Noted<'_> {
        fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
            self.log.borrow_mut().push(self.name);
            assert_eq!(warm, 2);
            self.turns_left = self.turns_left.checked_sub(1).ok_or("tired")?;
            Ok(vec![1.0; steps])
        }
    }

    #[test]
    fn contenders_alternate_and_one_that_fails_is_out() {
        let log = RefCell::default();
        let noted = |name, turns_left| Noted { name, log: &log, turns_left };
        let (mut a, mut b, mut c) = (noted('a', 9), noted('b', 1), noted('c', 9));
        let times = race(&mut [&mut a, &mut b, &mut c], Turns { rounds: 3, warm: 2, steps: 4 });
        assert_eq!(*log.borrow(), "abcabcac");
        let all = Ok(Rounds(vec![vec![1.0; 4]; 3]));
        assert_eq!(times, [all.clone(), Err("tired".to_owned()), all]);
    }
}
