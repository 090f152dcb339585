//! Near misses: what looks like an enterprise's and does not count as theirs.
//!
//! A tag that differs by a letter's case, a space or a list makes a resource nobody's. It is not taken for the enterprise's,
//! because it may be another's; it is named, because it may hold their data.

use std::collections::BTreeSet;

use super::{
    listing::{Kind, Resource},
    scan::Wanted,
};

/// A resource that looks like the enterprise's.
#[derive(Debug, Clone, PartialEq)]
pub struct NearMiss {
    pub resource: Resource,
    /// Why it looks so: what it says, and what it would have to say.
    pub why: String,
}

/// The near misses among `all`, which are those that `ours` does not name by their ARN.
pub fn near_misses(all: &[&Resource], ours: &BTreeSet<&str>, wanted: Wanted<'_>) -> Vec<NearMiss> {
    let others = all.iter().filter(|resource| !ours.contains(resource.arn.as_str()));
    let mut near: Vec<NearMiss> = others
        .clone()
        .filter_map(|resource| Some(NearMiss { why: looks(resource, wanted)?, resource: (*resource).clone() }))
        .collect();
    let sources: BTreeSet<String> = near
        .iter()
        .filter(|found| matches!(found.resource.kind, Kind::Instance | Kind::Cluster))
        .map(|found| found.resource.resource_id.clone())
        .collect();
    let named: BTreeSet<String> = near.iter().map(|found| found.resource.arn.clone()).collect();
    let copies = others.filter(|resource| sources.contains(&resource.resource_id) && !named.contains(&resource.arn));
    near.extend(copies.map(|resource| NearMiss {
        why: "it was taken from a system that looks like the enterprise's".to_owned(),
        resource: (*resource).clone(),
    }));
    near.sort_by(|a, b| {
        (&a.resource.region, a.resource.kind, &a.resource.id).cmp(&(
            &b.resource.region,
            b.resource.kind,
            &b.resource.id,
        ))
    });
    near
}

fn looks(resource: &Resource, wanted: Wanted<'_>) -> Option<String> {
    let (tag, enterprise) = (wanted.enterprise_tag, wanted.enterprise);
    let mut marked = false;
    for (key, value) in &resource.tags {
        if same(key, tag) {
            marked = true;
            if words(value).any(|word| same(word, enterprise)) {
                return Some(format!("its tag is '{key}' = '{value}', not '{tag}' = '{enterprise}'"));
            }
        }
    }
    let untagged = !marked && begins(&resource.id, enterprise);
    untagged.then(|| format!("its name begins with {enterprise} and it has no tag '{tag}'"))
}

/// The same but for case and space.
fn same(found: &str, wanted: &str) -> bool {
    found.trim().to_lowercase() == wanted.trim().to_lowercase()
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(|letter: char| letter.is_whitespace() || ",;|/+&".contains(letter)).filter(|word| !word.is_empty())
}

fn begins(id: &str, enterprise: &str) -> bool {
    // RDS names automated snapshots rds:<instance>-<date>.
    let id = id.rsplit(':').next().unwrap_or(id).to_lowercase();
    id.strip_prefix(&enterprise.to_lowercase()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn resource(id: &str, tags: &[(&str, &str)]) -> Resource {
        Resource {
            region: "us-west-2".to_owned(),
            kind: Kind::Instance,
            id: id.to_owned(),
            arn: format!("arn:aws:rds:us-west-2:127450652264:db:{id}"),
            resource_id: format!("db-{id}"),
            status: "available".to_owned(),
            encrypted: false,
            key: None,
            part_keys: BTreeMap::new(),
            automated: false,
            instance: None,
            derived_from: None,
            related: Vec::new(),
            taken_at: None,
            size_gb: None,
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn near(found: &[&Resource]) -> Vec<String> {
        let none = BTreeSet::new();
        let wanted = Wanted {
            enterprise: "dave",
            enterprise_tag: "keyferry:enterprise",
            instance_tag: "keyferry:instance",
            descended_from: &none,
        };
        let ours = found.iter().filter(|found| found.tags.get("keyferry:enterprise").is_some_and(|is| is == "dave"));
        let ours = ours.map(|found| found.arn.as_str()).collect();
        near_misses(found, &ours, wanted).into_iter().map(|near| near.resource.id).collect()
    }

    #[test]
    fn tags_that_differ_by_case_space_or_a_list_are_near_and_others_are_not() {
        for (key, value) in [
            ("Keyferry:Enterprise", "dave"),
            ("keyferry:enterprise ", "dave"),
            ("keyferry:enterprise", "Dave"),
            ("keyferry:enterprise", "dave "),
            ("keyferry:enterprise", "dave,erin"),
            ("keyferry:enterprise", "erin; DAVE"),
        ] {
            assert_eq!(near(&[&resource("x", &[(key, value)])]), ["x"], "{key}={value}");
        }
        for (key, value) in [
            ("keyferry:enterprise", "dave"),
            ("keyferry:enterprise", "erin"),
            ("keyferry:enterprise", "davenport"),
            ("keyferry:enterprise", "dave-two"),
            ("team", "dave"),
        ] {
            assert!(near(&[&resource("x", &[(key, value)])]).is_empty(), "{key}={value}");
        }
    }

    #[test]
    fn a_name_without_a_tag_is_near_and_what_was_taken_from_a_near_one_too() {
        assert_eq!(near(&[&resource("dave-archive", &[])]), ["dave-archive"]);
        assert!(near(&[&resource("davenport", &[])]).is_empty());
        assert!(near(&[&resource("dave-archive", &[("keyferry:enterprise", "erin")])]).is_empty());
        let system = resource("x", &[("keyferry:enterprise", "Dave")]);
        let mut copy = resource("nightly", &[]);
        (copy.kind, copy.resource_id) = (Kind::Snapshot, "db-x".to_owned());
        assert_eq!(near(&[&system, &copy]), ["x", "nightly"]);
    }
}
