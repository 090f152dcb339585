//! Awkward estates: what enterprises really have in RDS, and what happens to it while people, keys and processes misbehave.

mod acts;
mod awkward;
mod build;
mod clock;
mod drawn;
mod judge;
mod judging;
mod life;
mod people;
mod play;
mod rogues;
mod torture;
