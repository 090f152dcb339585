//! Ownership: the tags that say what keyferry made, for whom, in which run and state.

use std::collections::BTreeMap;

use aws_sdk_rds::types::{DbInstance, DbSnapshot, Tag};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

const RUN: &str = "keyferry:run";
const STEP: &str = "keyferry:step";
const ROLE: &str = "keyferry:role";
const ORIGINAL: &str = "keyferry:original";
/// On what is restored: the snapshot that the restoring call named.
const FROM: &str = "keyferry:restored-from";
/// Put on by a person: an archive, which is left alone for good.
const ARCHIVE: &str = "keyferry:archive";

/// The role of a snapshot that is taken before a window, and of its copy under the enterprise's key.
pub const EARLY: &str = "early";

/// Who makes something.
#[derive(Debug, Clone)]
pub struct Owner {
    pub run: String,
    /// The state that makes it.
    pub step: String,
    pub enterprise: String,
    /// The tag key under which the enterprise stands on its data systems.
    pub enterprise_tag: String,
}

impl Owner {
    /// Tags for something made in `role`: `early`, `final`, `copy`, `recovery`, `new`, `canary`.
    pub fn tags(&self, role: &str) -> Tags {
        Tags::from([
            (RUN.to_owned(), self.run.clone()),
            (STEP.to_owned(), self.step.clone()),
            (ROLE.to_owned(), role.to_owned()),
            (self.enterprise_tag.clone(), self.enterprise.clone()),
        ])
    }

    /// Tags for a system that is restored from a snapshot.
    pub fn restored(&self, from: &str) -> Tags {
        let mut tags = self.tags("new");
        tags.insert(FROM.to_owned(), from.to_owned());
        tags
    }

    /// Tags that mark an original as replaced.
    pub fn old(&self, original: &str) -> Tags {
        let mut tags = self.tags("old");
        tags.insert(ORIGINAL.to_owned(), original.to_owned());
        tags
    }

    /// Whether this run made it for this enterprise.
    pub fn made(&self, tags: &Tags) -> bool {
        tags.get(RUN) == Some(&self.run) && tags.get(&self.enterprise_tag) == Some(&self.enterprise)
    }
}

/// What is read from the tags.
pub mod read {
    use super::{ARCHIVE, FROM, ORIGINAL, ROLE, RUN, Tags};

    pub fn role(tags: &Tags) -> Option<&str> {
        tags.get(ROLE).map(String::as_str)
    }

    pub fn run(tags: &Tags) -> Option<&str> {
        tags.get(RUN).map(String::as_str)
    }

    pub fn original(tags: &Tags) -> Option<&str> {
        tags.get(ORIGINAL).map(String::as_str)
    }

    /// The snapshot that a system was restored from, by the tag that the restoring call set.
    pub fn restored_from(tags: &Tags) -> Option<&str> {
        tags.get(FROM).map(String::as_str)
    }

    /// Whether a person has said that it is an archive.
    pub fn archive(tags: &Tags) -> bool {
        tags.contains_key(ARCHIVE)
    }

    /// The keys that mark an original as replaced and that come off when it is put back.
    pub fn marks() -> [&'static str; 5] {
        [RUN, super::STEP, ROLE, ORIGINAL, FROM]
    }

    /// The vendor's own tags, without keyferry's marks.
    pub fn vendors(tags: &Tags) -> Tags {
        let marks = marks();
        let kept = tags.iter().filter(|(key, _)| !marks.contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Tags as the SDK describes them.
pub fn tag_list(list: &[Tag]) -> Tags {
    let pairs = list.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())));
    pairs.collect()
}

pub fn of_instance(instance: &DbInstance) -> Tags {
    tag_list(instance.tag_list())
}

pub fn of_snapshot(snapshot: &DbSnapshot) -> Tags {
    tag_list(snapshot.tag_list())
}

/// Tags as the SDK takes them. AWS refuses keys that begin with `aws:`; it sets those itself.
pub fn sdk(tags: &Tags) -> Vec<Tag> {
    let own = tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
    own.map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}
