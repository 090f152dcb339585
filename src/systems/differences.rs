//! Where two descriptions differ: what a restored system lacks of its original.

use serde_json::Value;

use super::Settings;

/// Settings that a change can bring back after the restore; the others have to come out right at once.
const ADJUSTABLE: [&str; 23] = [
    "max_storage_gb",
    "multi_az",
    "security_groups",
    "parameter_group",
    "option_group",
    "publicly_accessible",
    "retention_days",
    "backup_window",
    "maintenance_window",
    "auto_minor_upgrade",
    "deletion_protection",
    "iam_authentication",
    "log_exports",
    "copy_tags",
    "monitoring_interval",
    "monitoring_role",
    "performance_insights",
    "performance_insights_days",
    "insights_mode",
    "managed_password",
    "ca",
    "lifecycle_support",
    "processor_features",
];

/// Each setting that differs: (name, wanted, found).
pub fn differences(wanted: &Settings, found: &Settings) -> Vec<(String, Value, Value)> {
    let (Ok(Value::Object(wanted)), Ok(Value::Object(found))) =
        (serde_json::to_value(wanted), serde_json::to_value(found))
    else {
        return vec![("settings".to_owned(), Value::Null, Value::Null)];
    };
    let differing = wanted.into_iter().filter_map(|(name, wanted)| {
        let found = found.get(&name).cloned().unwrap_or(Value::Null);
        let same = wanted == found || unknown(&name, &wanted) || grown(&name, &wanted, &found);
        (!same).then_some((name, wanted, found))
    });
    differing.collect()
}

/// A description that is older than this setting says nothing of it.
fn unknown(name: &str, wanted: &Value) -> bool {
    name == "lifecycle_support" && wanted.is_null()
}

/// Storage may have grown since, as autoscaling lets it; it never shrinks.
fn grown(name: &str, wanted: &Value, found: &Value) -> bool {
    name == "storage_gb" && found.as_i64() > wanted.as_i64()
}

/// Whether a later change can bring a setting back.
pub fn adjustable(name: &str) -> bool {
    ADJUSTABLE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_adjustable_setting_is_a_setting() {
        let Ok(Value::Object(settings)) = serde_json::to_value(Settings::default()) else { panic!("not an object") };
        for name in ADJUSTABLE {
            assert!(settings.contains_key(name), "{name}");
        }
    }

    #[test]
    fn only_what_differs_is_named() {
        let wanted = Settings { multi_az: true, ..Settings::default() };
        assert!(differences(&wanted, &wanted).is_empty());
        let found = differences(&wanted, &Settings::default());
        assert_eq!(found, [("multi_az".to_owned(), Value::Bool(true), Value::Bool(false))]);
        assert!(adjustable("multi_az") && !adjustable("engine"));
    }

    #[test]
    fn storage_that_grew_is_no_difference_and_storage_that_shrank_is() {
        let of = |storage_gb| Settings { storage_gb, ..Settings::default() };
        assert_eq!(differences(&of(100), &of(110)), []);
        assert_eq!(differences(&of(110), &of(100)).len(), 1);
    }
}
