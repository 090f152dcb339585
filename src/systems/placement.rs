//! What was stated about regions and instances, against what there is.
//!
//! Pure, and asked twice: right after the form `regions`, whose findings lead back to it, and at each inventory, because weeks
//! may lie between the two.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    listing::{Kind, Resource},
    names::identifier,
    residency::{Homes, PRODUCTION, Recovery, Residency},
    tags::read,
};

/// How many ARNs a message names.
const SHOWN: usize = 5;

/// Something that the form `regions` has to say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// Where in the form's answer.
    pub pointer: String,
    pub message: String,
    /// What to write, or to do.
    pub change: String,
}

/// An instance without a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    pub instance: String,
    pub region: String,
    /// The name that its system gets.
    pub id: String,
    /// ARNs of data of it that no system serves and that nobody called an archive: then an empty one is provisioned only by
    /// somebody's word.
    pub data: Vec<String>,
}

/// What is compared.
pub struct Placement<'a> {
    pub enterprise: &'a str,
    pub primary: &'a str,
    pub residency: &'a Residency,
    /// Instances that get an empty system although data of them exists.
    pub empty: &'a BTreeSet<String>,
    pub resources: &'a [Resource],
    pub homes: &'a Homes,
}

fn instance_of(resource: &Resource) -> &str {
    resource.instance.as_deref().unwrap_or(PRODUCTION)
}

/// A canary and its copy hold nobody's data.
fn holds_data(resource: &Resource) -> bool {
    !matches!(read::role(&resource.tags), Some("canary" | "canary-copy"))
}

fn pair(name: &str, value: &str) -> String {
    format!("{{\"{name}\": \"{value}\"}}")
}

impl Placement<'_> {
    /// Systems, replicas among them: those that serve and those that were put aside, not what keyferry has restored and not
    /// swapped in yet.
    fn systems(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(|resource| {
            let restored = read::run(&resource.tags).is_some()
                && resource.id.starts_with("byok-")
                && read::role(&resource.tags) != Some("old");
            matches!(resource.kind, Kind::Instance | Kind::Cluster) && !restored
        })
    }

    /// Systems that serve. An original that is back under its own name serves, whatever its tags say.
    fn serving(&self) -> impl Iterator<Item = &Resource> {
        self.systems().filter(|system| {
            read::role(&system.tags) != Some("old") || read::original(&system.tags) == Some(&system.id)
        })
    }

    fn primaries(&self) -> impl Iterator<Item = &Resource> {
        self.serving().filter(|system| system.derived_from.is_none())
    }

    /// The regions in which each instance has its data, or will have it.
    pub fn instances(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for system in self.systems() {
            all.entry(instance_of(system).to_owned()).or_default().insert(system.region.clone());
        }
        let homes: Vec<(String, String)> = self
            .systems()
            .filter(|system| system.derived_from.is_none())
            .map(|system| (instance_of(system).to_owned(), system.region.clone()))
            .chain(self.lacking().into_iter().map(|lacking| (lacking.instance, lacking.region)))
            .collect();
        for (instance, home) in homes {
            let regions = all.entry(instance).or_default();
            if let Recovery::In(away) = self.residency.recovery_of(&home) {
                regions.insert(away.to_owned());
            }
            regions.insert(home);
        }
        all
    }

    /// The instances that were placed and have no system, and production when the enterprise has no system at all. One whose
    /// system was put aside has it: how that is put back is another matter, and nothing empty may take its place meanwhile.
    pub fn lacking(&self) -> Vec<Lacking> {
        let mut places = self.residency.places.clone();
        let nothing = self.systems().next().is_none();
        if nothing {
            places.entry(PRODUCTION.to_owned()).or_insert_with(|| self.primary.to_owned());
        }
        let there: BTreeSet<&str> = self.systems().map(instance_of).collect();
        let wanted = places.into_iter().filter(|(instance, _)| !there.contains(instance.as_str()));
        wanted
            .map(|(instance, region)| {
                // Where no system is left to compare with, whatever there is may be what is missing.
                let theirs = self.resources.iter().filter(|found| {
                    (nothing || instance_of(found) == instance) && holds_data(found) && !read::archive(&found.tags)
                });
                let data = theirs.map(|found| found.arn.clone()).collect();
                Lacking { id: identifier(&format!("{}-{instance}", self.enterprise)), data, instance, region }
            })
            .collect()
    }

    /// What gets an empty system.
    pub fn to_provision(&self) -> Vec<Lacking> {
        let mut all = self.lacking();
        all.retain(|lacking| lacking.data.is_empty() || self.empty.contains(&lacking.instance));
        all
    }

    /// Everything that is not as it was stated.
    pub fn misplaced(&self) -> Vec<Misplaced> {
        let mut all: Vec<Misplaced> = self.serving().filter_map(|system| self.system(system)).collect();
        let homes: BTreeSet<&str> = self.primaries().map(|system| system.region.as_str()).collect();
        all.extend(homes.into_iter().filter_map(|home| self.unstated(home)));
        all
    }

    /// Data beside which an empty system would be made, and would then be taken for the system that the data is of.
    pub fn unserved(&self) -> Vec<Misplaced> {
        self.lacking().iter().filter_map(|lacking| self.not_empty(lacking)).collect()
    }

    fn system(&self, system: &Resource) -> Option<Misplaced> {
        let (id, region, instance) = (&system.id, system.region.as_str(), instance_of(system));
        let (regions, home) = (&self.residency.regions, self.homes.of(system));
        if !regions.iter().any(|chosen| chosen == region) {
            return Some(Misplaced {
                pointer: "/additional".to_owned(),
                message: format!("{id} is in {region}, which is none of the chosen regions ({})", regions.join(", ")),
                change: format!("add {region}, or take the enterprise's tag off {id} if it is not theirs"),
            });
        }
        if system.derived_from.is_some() {
            let why = self.residency.outside(system, self.homes)?;
            return Some(Misplaced {
                pointer: format!("/recovery/{home}"),
                message: format!("the replica {id} in {region} may not be there: {why}"),
                change: format!(
                    "state {} as recovery, or {{\"{home}\": [\"{region}\"]}} as also_in, or remove the replica",
                    pair(home, region)
                ),
            });
        }
        let placed = self.residency.places.get(instance).filter(|placed| *placed != region)?;
        Some(Misplaced {
            pointer: format!("/instances/{instance}"),
            message: format!("{instance} was placed in {placed}, but its system {id} lives in {region}"),
            change: format!(
                "state {} as instances, leave {instance} out, or move {id} first: keyferry moves no data between regions",
                pair(instance, region)
            ),
        })
    }

    fn unstated(&self, home: &str) -> Option<Misplaced> {
        let chosen = self.residency.regions.iter().any(|chosen| chosen == home);
        if !chosen || self.residency.recovery_of(home) != Recovery::Unstated {
            return None;
        }
        Some(Misplaced {
            pointer: "/recovery".to_owned(),
            message: format!(
                "there is data in {home}, no recovery region is stated for it, and no other chosen region is in its jurisdiction"
            ),
            change: format!(
                "state {} as recovery with a chosen region, or {} for no copy elsewhere",
                pair(home, "REGION"),
                pair(home, "none")
            ),
        })
    }

    fn not_empty(&self, lacking: &Lacking) -> Option<Misplaced> {
        let Lacking { instance, data, id, .. } = lacking;
        if data.is_empty() || self.empty.contains(instance) {
            return None;
        }
        let more = data.len().saturating_sub(SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let shown: Vec<&str> = data.iter().take(SHOWN).map(String::as_str).collect();
        Some(Misplaced {
            pointer: format!("/instances/{instance}"),
            message: format!("no system of {instance} serves, but there is data: {}{more}", shown.join(", ")),
            change: format!(
                "if it is of a system that should serve, restore or rename that system to its name; if all of it is an archive, \
                 tag each with keyferry:archive=yes: it is left alone from then on; or name {instance} in empty of the form \
                 regions. Only then {id} is provisioned empty"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems::Tags;

    fn resource(kind: Kind, region: &str, id: &str, instance: &str) -> Resource {
        Resource {
            region: region.to_owned(),
            kind,
            id: id.to_owned(),
            arn: format!("arn:aws:rds:{region}:127450652264:x:{id}"),
            resource_id: format!("db-{id}"),
            status: "available".to_owned(),
            encrypted: true,
            key: None,
            part_keys: BTreeMap::new(),
            automated: false,
            instance: Some(instance.to_owned()),
            derived_from: None,
            taken_at: None,
            related: Vec::new(),
            size_gb: None,
            tags: Tags::new(),
        }
    }

    fn residency(places: &[(&str, &str)]) -> Residency {
        let regions: Vec<String> = ["us-west-2", "us-east-1", "eu-central-1", "eu-west-1"].map(str::to_owned).to_vec();
        Residency {
            recovery: Residency::unstated("us-west-2", "us-east-1", &regions),
            places: places.iter().map(|(instance, region)| ((*instance).to_owned(), (*region).to_owned())).collect(),
            regions,
            ..Residency::default()
        }
    }

    /// Pointers of what is misplaced, and ids of what is provisioned.
    fn judged(residency: &Residency, resources: &[Resource], empty: &[&str]) -> (Vec<String>, Vec<String>) {
        let homes = Homes::new(resources, BTreeMap::new());
        let empty = empty.iter().map(|&name| name.to_owned()).collect();
        let placement =
            Placement { enterprise: "dave", primary: "us-west-2", residency, empty: &empty, resources, homes: &homes };
        let found = placement.misplaced().into_iter().chain(placement.unserved());
        let pointers = found.map(|misplaced| misplaced.pointer).collect();
        let ids = placement.to_provision().into_iter().map(|lacking| lacking.id).collect();
        (pointers, ids)
    }

    const NONE: Vec<String> = Vec::new();

    #[test]
    fn what_was_placed_and_is_not_there_is_provisioned_beside_what_is() {
        let production = resource(Kind::Instance, "us-west-2", "prod", "production");
        let placed = residency(&[("sandbox", "eu-central-1")]);
        assert_eq!(judged(&placed, &[production], &[]), (NONE, vec!["dave-sandbox".to_owned()]));
        assert_eq!(
            judged(&placed, &[], &[]),
            (NONE, vec!["dave-production".to_owned(), "dave-sandbox".to_owned()]),
            "production comes by itself where there is nothing"
        );
        let sandbox = resource(Kind::Instance, "eu-central-1", "sand", "sandbox");
        assert_eq!(judged(&placed, &[sandbox], &[]), (NONE, NONE), "and not where there is something");
    }

    #[test]
    fn an_instance_that_lives_elsewhere_is_found_at_its_place() {
        let sandbox = resource(Kind::Instance, "us-west-2", "sand", "sandbox");
        let placed = residency(&[("sandbox", "eu-central-1")]);
        assert_eq!(judged(&placed, std::slice::from_ref(&sandbox), &[]), (vec!["/instances/sandbox".to_owned()], NONE));
        assert_eq!(judged(&residency(&[]), &[sandbox], &[]), (NONE, NONE));
    }

    #[test]
    fn no_empty_system_takes_the_place_of_data_without_somebodys_word() {
        let mut archive = resource(Kind::Snapshot, "us-west-2", "tax-2019", "production");
        let stated = residency(&[]);
        let (pointers, ids) = judged(&stated, std::slice::from_ref(&archive), &[]);
        assert_eq!((pointers, ids), (vec!["/instances/production".to_owned()], NONE));
        let provisioned = (NONE, vec!["dave-production".to_owned()]);
        assert_eq!(judged(&stated, std::slice::from_ref(&archive), &["production"]), provisioned);
        archive.tags.insert("keyferry:archive".to_owned(), "yes".to_owned());
        assert_eq!(judged(&stated, std::slice::from_ref(&archive), &[]), provisioned);
        // Of an instance that is known by nothing but its data.
        let other = resource(Kind::Snapshot, "us-west-2", "tax-2020", "development");
        assert_eq!(judged(&stated, &[archive, other], &[]), (vec!["/instances/production".to_owned()], NONE));
    }

    #[test]
    fn a_system_that_was_put_aside_keeps_its_place_free_of_empty_ones() {
        let mut old = resource(Kind::Instance, "us-west-2", "byok-dave-g1-prod-old-abc", "production");
        old.tags.insert("keyferry:role".to_owned(), "old".to_owned());
        old.tags.insert("keyferry:run".to_owned(), "run-1".to_owned());
        old.tags.insert("keyferry:original".to_owned(), "prod".to_owned());
        assert_eq!(judged(&residency(&[]), &[old.clone()], &["production"]), (NONE, NONE));
        // Renamed back by hand, with its tags: it serves.
        old.id = "prod".to_owned();
        let placed = residency(&[("production", "eu-west-1")]);
        assert_eq!(judged(&placed, &[old], &[]), (vec!["/instances/production".to_owned()], NONE));
    }

    #[test]
    fn a_replica_outside_and_data_without_a_stated_recovery_region_are_found() {
        let source = resource(Kind::Instance, "eu-central-1", "prod", "production");
        let mut replica = resource(Kind::Instance, "us-east-1", "prod-copy", "production");
        replica.derived_from = Some("arn:aws:rds:eu-central-1:127450652264:db:prod".to_owned());
        let mut stated = residency(&[]);
        let both = [source, replica];
        assert_eq!(judged(&stated, &both, &[]), (vec!["/recovery/eu-central-1".to_owned()], NONE));
        stated.recovery.insert("eu-central-1".to_owned(), Some("us-east-1".to_owned()));
        assert_eq!(judged(&stated, &both, &[]), (NONE, NONE));
        stated.recovery.remove("eu-central-1");
        let (pointers, _) = judged(&stated, &both[..1], &[]);
        assert_eq!(pointers, ["/recovery"]);
        stated.regions.retain(|region| !region.starts_with("eu-"));
        assert_eq!(judged(&stated, &both[..1], &[]).0, ["/additional"]);
    }

    #[test]
    fn an_instance_has_its_data_at_home_and_where_its_copies_are() {
        let system = resource(Kind::Instance, "eu-central-1", "prod", "production");
        let (stated, resources) = (residency(&[("sandbox", "us-west-2")]), [system]);
        let homes = Homes::new(&resources, BTreeMap::new());
        let placement = Placement {
            enterprise: "dave",
            primary: "us-west-2",
            residency: &stated,
            empty: &BTreeSet::new(),
            resources: &resources,
            homes: &homes,
        };
        let known = placement.instances();
        let regions = |instance: &str| known[instance].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(regions("production"), ["eu-central-1", "eu-west-1"]);
        assert_eq!(regions("sandbox"), ["us-east-1", "us-west-2"]);
    }
}
