//! Every error of steps has a test that carries out its cure, or a reason why there is nothing to carry out.

use std::{collections::BTreeMap, path::Path};

/// How it is known that a cure leads on.
enum Known {
    /// The file and the test in it.
    By(&'static str, &'static str),
    /// There is nothing for a person to do, or nothing that could be done here.
    Nothing(&'static str),
}

use Known::{By, Nothing};

const STEPS: &str = "tests/steps/cures/steps.rs";
const INSTALLATIONS: &str = "tests/steps/cures/installations.rs";
const LACKS: &str = "what_this_version_or_installation_lacks_is_installed_and_the_run_goes_on";
const CUSTODY: &str = "tests/steps/custody.rs";
const TO_ITS_END: &str = "what_keeps_a_run_from_going_on_is_put_right_as_its_cause_says_and_the_run_comes_to_its_end";

const KNOWN: [(&str, Known); 34] = [
    ("Throttled", Nothing("it is retried until AWS answers")),
    ("Unavailable", Nothing("it is retried until AWS answers")),
    ("NotReady", Nothing("it is retried until RDS is done")),
    ("NoCapacity", Nothing("it is retried; another class is a change of the system before its window")),
    ("AccessDenied", By(STEPS, TO_ITS_END)),
    ("KeyNotUsable", By(STEPS, TO_ITS_END)),
    ("QuotaExceeded", By(STEPS, TO_ITS_END)),
    ("NotFound", By(STEPS, TO_ITS_END)),
    ("Foreign", By(CUSTODY, "what_bears_a_name_that_is_needed_is_kept_and_the_cure_leads_on")),
    ("DataExists", By(CUSTODY, "beside_data_no_empty_system_is_made_until_a_person_says_that_it_is_an_archive")),
    ("Missing", By(STEPS, "a_system_that_is_missing_is_found_again_under_its_name_or_left_out_by_another_run")),
    ("SystemBroken", By(STEPS, TO_ITS_END)),
    (
        "Mismatch",
        By("tests/steps/table.rs", "every_step_may_fail_at_its_start_after_its_effect_run_twice_and_be_cut_off"),
    ),
    ("WindowPassed", By("tests/steps/put_back.rs", "a_state_in_attention_across_the_cutoff_leads_to_put_back")),
    ("SettingsChanged", Nothing("it is recorded again by itself")),
    (
        "NotMigrated",
        By("tests/steps/replicas.rs", "a_replica_that_cannot_be_replaced_is_put_back_with_those_behind_it"),
    ),
    (
        "Outage",
        By(
            "tests/steps/outage.rs",
            "a_put_back_whose_name_is_taken_says_what_is_down_and_what_to_do_and_touches_nothing",
        ),
    ),
    ("NoPlan", By("tests/steps/forged.rs", "a_retry_with_another_input_does_nothing_that_was_not_planned")),
    (
        "OutsidePlan",
        By("tests/steps/residency.rs", "an_instance_that_lives_elsewhere_comes_back_to_the_form_and_can_be_put_right"),
    ),
    ("Unsupported", By(STEPS, TO_ITS_END)),
    ("NotVerified", By(CUSTODY, "a_system_that_nothing_serves_stops_the_purge_and_serves_again_by_the_cure")),
    ("NotApproved", By(CUSTODY, "after_an_approval_that_does_not_hold_another_run_asks_and_purges")),
    ("Interrupted", By(CUSTODY, "the_data_loss_that_following_the_printed_cures_led_to_does_not_happen")),
    ("NoCustody", By("tests/steps/onboarding.rs", "an_onboarding_runs_from_regions_to_a_clean_report")),
    ("UnsupportedRegion", By(INSTALLATIONS, LACKS)),
    (
        "BadInput",
        By(
            "tests/keys/reimport.rs",
            "nothing_is_asked_for_when_nothing_is_gone_and_an_input_that_cannot_be_meant_stands_in_attention",
        ),
    ),
    ("LeaseLost", Nothing("another worker has the step")),
    ("StepCrashed", Nothing("what kills the process is outside of it")),
    ("Panicked", Nothing("a defect of keyferry, which only another version mends")),
    ("UnknownStep", By(INSTALLATIONS, LACKS)),
    ("UnknownWorkflow", By(INSTALLATIONS, LACKS)),
    ("StoreUnavailable", Nothing("the step is done again when the database answers")),
    ("StoreUnreadable", By(INSTALLATIONS, "a_damaged_record_is_put_back_from_a_backup_and_the_run_goes_on")),
    ("Unexpected", Nothing("whatever AWS says: it has no cure of its own")),
];

/// The names in the first table of docs/errors.md.
fn documented() -> Vec<String> {
    let document = include_str!("../../../docs/errors.md");
    let table = document.split("\n# ").next().unwrap().lines();
    let names = table.filter_map(|line| line.strip_prefix("| `Keyferry.")?.split('`').next());
    names.map(str::to_owned).collect()
}

#[test]
fn every_documented_error_is_carried_out_by_a_test_or_says_why_not() {
    let known: BTreeMap<&str, &Known> = KNOWN.iter().map(|(name, known)| (*name, known)).collect();
    assert_eq!(known.len(), KNOWN.len(), "one is listed twice");
    let documented = documented();
    for name in &documented {
        let how = known.get(name.as_str()).unwrap_or_else(|| panic!("{name}: say which test carries out its cure"));
        match how {
            By(file, test) => {
                let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
                assert!(text.contains(&format!("fn {test}()")), "{name}: there is no {test} in {file}");
            }
            Nothing(why) => assert!(!why.is_empty(), "{name}"),
        }
    }
    assert_eq!(documented.len(), KNOWN.len(), "one is listed that is not documented");
}
