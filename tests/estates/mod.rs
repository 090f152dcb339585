//! Awkward estates: what enterprises really have in RDS, and what happens to it while people, keys and processes misbehave.

mod acts;
mod awkward;
mod build;
mod clock;
mod counts;
mod drawn;
mod fork;
mod guard_rows;
mod guards;
mod judge;
mod judging;
mod killed;
mod life;
mod people;
mod play;
mod rogue;
mod torture;
mod wire;
