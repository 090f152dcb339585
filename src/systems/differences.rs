//! Where two descriptions differ: what a restored system lacks of its original.

use serde_json::Value;

use super::Settings;

/// Settings that a change can bring back after the restore; the others have to come out right at once.
const ADJUSTABLE: [&str; 19] = [
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
    "managed_password",
    "log_exports",
    "copy_tags",
    "monitoring_interval",
    "monitoring_role",
    "performance_insights",
    "performance_insights_days",
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
        (wanted != found).then_some((name, wanted, found))
    });
    differing.collect()
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
}
