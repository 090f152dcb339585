//! Each law's check is seen to fail: a defect is put in, and the law that it breaks is the one that is named.

use super::{
    checker::Law,
    world::{Bug, play},
};

/// Plays seeds until one breaks a law, which must be one of those expected.
fn breaks(bug: Bug, expected: &[Law]) {
    for seed in 0..200 {
        let violations = play(seed, Some(bug), false).violations;
        if let Some(first) = violations.first() {
            assert!(expected.contains(&first.law), "{bug:?} broke {first:?} in seed {seed}");
            return;
        }
    }
    panic!("{bug:?} broke no law in 200 seeds");
}

#[test]
fn a_lost_acknowledgement_is_found() {
    breaks(Bug::AcknowledgesNothing, &[Law::NoLostAck]);
    breaks(Bug::LosesHistory, &[Law::NoLostAck]);
}

#[test]
fn a_second_object_is_found() {
    breaks(Bug::NamesByAttempt, &[Law::OneEffect]);
}

#[test]
fn a_write_under_a_lost_fence_is_found() {
    breaks(Bug::ForgesFences, &[Law::Fence]);
}

#[test]
fn a_forged_history_is_found() {
    breaks(Bug::ForgesHistory, &[Law::History]);
}

#[test]
fn a_world_that_stands_still_is_found() {
    breaks(Bug::ClaimsNothing, &[Law::Liveness]);
}

#[test]
fn a_secret_that_is_shown_is_found() {
    breaks(Bug::TellsSecrets, &[Law::NoSecret]);
}

#[test]
fn a_system_without_a_copy_is_found() {
    breaks(Bug::SkipsVerification, &[Law::DataSafe]);
}

#[test]
fn a_timer_that_is_early_is_found() {
    breaks(Bug::ClaimsEarly, &[Law::Timer, Law::Fence]);
}

#[test]
fn a_deletion_that_nobody_approved_is_found() {
    breaks(Bug::AsksNobody, &[Law::Approval]);
}

#[test]
fn more_work_than_there_is_room_for_is_found() {
    breaks(Bug::ClaimsTooMuch, &[Law::Bounded]);
}

#[test]
fn an_effect_without_a_claim_is_found() {
    breaks(Bug::ActsUnclaimed, &[Law::Audit]);
}

#[test]
fn a_system_that_is_left_out_of_service_is_found() {
    breaks(Bug::PutsNothingBack, &[Law::Outage]);
}

#[test]
fn a_history_that_nobody_can_read_is_found() {
    breaks(Bug::WritesWhatNobodyReads, &[Law::Replay]);
}
