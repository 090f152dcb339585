//! Estates and chance, drawn from a seed.

use super::build::{EAST, Estate, Shape, WEST};

/// Random numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Not a multiple of what each draw adds: neighbouring seeds would draw one sequence, shifted.
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(23) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `below` - 1.
    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

fn shape(dice: &mut Dice, key: &str) -> Shape {
    let engines = ["postgres", "mysql", "mariadb"];
    Shape {
        engine: engines[usize::try_from(dice.below(3)).unwrap()],
        gb: 20 + 20 * i32::try_from(dice.below(5)).unwrap(),
        key: dice.percent(60).then(|| key.to_owned()),
        instance: if dice.percent(70) { "production" } else { "sandbox" },
        multi_az: dice.percent(30),
        protected: dice.percent(30),
        retention_days: [1, 7, 35][usize::try_from(dice.below(3)).unwrap()],
        managed_password: dice.percent(25),
        iam: dice.percent(20),
        ..Shape::default()
    }
}

/// One to three systems with replicas, snapshots and their copies elsewhere, and at times an archive of one that is gone.
pub async fn drawn(dice: &mut Dice) -> Estate {
    let estate = Estate::new(1).await;
    let vendors = [estate.vendors_key(WEST).await, estate.vendors_key(EAST).await];
    for number in 0..=dice.below(3) {
        let id = if dice.percent(10) { format!("dave-{number}-{}", "x".repeat(56)) } else { format!("dave-{number}") };
        let shape = shape(dice, &vendors[0]);
        let made = estate.system(WEST, &id, &shape).await;
        let arn = made.db_instance_arn().unwrap_or_default();
        if dice.percent(25) && !shape.managed_password {
            let key = shape.key.is_some().then(|| vendors[1].clone());
            estate.replica(EAST, &format!("copy-{number}"), arn, key).await;
        }
        if dice.percent(40) {
            let snapshot = estate.snapshot(WEST, &id, &format!("nightly-{number}")).await;
            if dice.percent(50) {
                let key = shape.key.is_some().then(|| vendors[1].clone());
                estate.copy(EAST, &snapshot, &format!("nightly-east-{number}"), key).await;
            }
        }
    }
    if dice.percent(20) {
        let shape = Shape { protected: false, ..shape(dice, &vendors[0]) };
        estate.archive(WEST, "dave-gone", &shape).await;
    }
    estate
}
