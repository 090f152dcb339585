//! The report in sentences: what was looked at, what it comes to, and how many of each.

use std::collections::BTreeMap;

use super::{
    Conclusion, Finding, Request,
    report::{Decision, Doubt},
    scope,
};

pub(super) fn all(
    request: &Request<'_>,
    conclusion: Conclusion,
    counts: &BTreeMap<Finding, usize>,
    not_proven: &[Doubt],
    decisions: &[Decision],
) -> Vec<String> {
    let mut sentences = looked_at(request);
    sentences.push(match conclusion {
        Conclusion::Compliant => format!(
            "Everything that was found is encrypted under the keys of generation {}, and each key was used for this report.",
            request.generation
        ),
        Conclusion::NotProven => format!(
            "Nothing is known to be wrong, but {} could not be proven: compliance is not proven.",
            things(not_proven.len())
        ),
        Conclusion::Deviations if not_proven.is_empty() => {
            "Not everything is as it has to be; the deviations are listed first.".to_owned()
        }
        Conclusion::Deviations => format!(
            "Not everything is as it has to be; the deviations are listed first. Besides, {} could not be proven.",
            things(not_proven.len())
        ),
    });
    sentences.extend(
        counts.iter().filter(|(_, count)| **count > 0).map(|(finding, count)| format!("{}.", finding.words(*count))),
    );
    let stopped: Vec<&str> = request
        .survey
        .scan
        .resources
        .iter()
        .filter(|found| found.status == "stopped")
        .map(|found| found.id.as_str())
        .collect();
    if !stopped.is_empty() {
        sentences.push(format!("Stopped, so that nobody uses them now: {}.", stopped.join(", ")));
    }
    if !decisions.is_empty() {
        sentences.push(format!("{} decided by engineers; each is listed with its reason.", things(decisions.len())));
    }
    sentences
}

fn things(count: usize) -> String {
    if count == 1 { "1 thing".to_owned() } else { format!("{count} things") }
}

fn looked_at(request: &Request<'_>) -> Vec<String> {
    let (place, survey) = (&request.place, request.survey);
    let unread: Vec<&String> =
        place.regions.iter().filter(|region| survey.unread.iter().any(|unread| unread.region == **region)).collect();
    let whole: Vec<&str> = place.regions.iter().filter(|region| !unread.contains(region)).map(String::as_str).collect();
    let kinds: Vec<String> = scope::kinds().into_iter().filter(|row| row.inside).map(|row| row.kind).collect();
    let outside: Vec<String> = scope::kinds().into_iter().filter(|row| !row.inside).map(|row| row.kind).collect();
    let mut sentences = vec![
        format!(
            "Looked at: account {} ({}), the regions {}: {} resources of {} on {} pages.",
            place.account,
            place.partition,
            if whole.is_empty() { "none".to_owned() } else { whole.join(", ") },
            survey.scan.resources.len(),
            request.enterprise,
            survey.scan.pages.values().sum::<u64>()
        ),
        format!(
            "A resource is theirs when its tag {} is exactly '{}', or when it was taken from one that is.",
            place.enterprise_tag, request.enterprise
        ),
        format!("Kinds looked at: {}.", kinds.join("; ")),
        format!("Not looked at: {}.", outside.join("; ")),
    ];
    if !unread.is_empty() {
        let names: Vec<&str> = unread.iter().map(|region| region.as_str()).collect();
        sentences.push(format!("Not read whole: {}.", names.join(", ")));
    }
    sentences
}
