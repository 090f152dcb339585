use super::*;
use crate::systems::Tags;

fn resource(kind: Kind, region: &str, id: &str, resource_id: &str) -> Resource {
    Resource {
        region: region.to_owned(),
        kind,
        id: id.to_owned(),
        arn: format!("arn:aws:rds:{region}:127450652264:x:{id}"),
        resource_id: resource_id.to_owned(),
        status: "available".to_owned(),
        encrypted: true,
        key: None,
        part_keys: BTreeMap::new(),
        automated: false,
        instance: None,
        derived_from: None,
        taken_at: None,
        related: Vec::new(),
        size_gb: None,
        tags: Tags::new(),
    }
}

fn residency() -> Residency {
    let regions: Vec<String> =
        ["us-west-2", "us-east-1", "eu-central-1", "eu-west-1", "ca-central-1"].map(str::to_owned).to_vec();
    let mut recovery = Residency::unstated("us-west-2", "us-east-1", &regions);
    recovery.insert("ca-central-1".to_owned(), None);
    Residency { regions, recovery, ..Residency::default() }
}

#[test]
fn by_default_copies_stay_in_their_jurisdiction() {
    let residency = residency();
    for (home, away) in [
        ("us-west-2", Recovery::In("us-east-1")),
        ("us-east-1", Recovery::In("us-west-2")),
        ("eu-central-1", Recovery::In("eu-west-1")),
        ("eu-west-1", Recovery::In("eu-central-1")),
        ("ca-central-1", Recovery::Nowhere),
        ("ap-southeast-2", Recovery::Unstated),
    ] {
        assert_eq!(residency.recovery_of(home), away, "{home}");
    }
}

#[test]
fn a_copy_of_a_copy_is_known_by_its_first_home() {
    let system = resource(Kind::Instance, "eu-central-1", "dave-eu", "db-eu");
    let mut away = resource(Kind::Snapshot, "eu-west-1", "a", "db-eu");
    away.derived_from = Some("arn:aws:rds:eu-central-1:127450652264:snapshot:s".to_owned());
    let mut further = resource(Kind::Snapshot, "us-east-1", "b", "db-eu");
    further.derived_from = Some("arn:aws:rds:eu-west-1:127450652264:snapshot:a".to_owned());
    let mut again = resource(Kind::Snapshot, "us-east-1", "c", "db-eu");
    again.derived_from = Some("arn:aws:rds:us-east-1:127450652264:snapshot:b".to_owned());
    let residency = residency();
    let homes = Homes::new(&[system], BTreeMap::new());
    assert_eq!(residency.outside(&away, &homes), None);
    for copy in [&further, &again] {
        let why = residency.outside(copy, &homes).unwrap();
        assert_eq!(why, "it holds data of eu-central-1, which may lie in eu-central-1 and eu-west-1 only");
    }
    // The system is gone: what the inventory wrote down still says where its copies belong.
    let remembered = Homes::new(&[], [("db-eu".to_owned(), "eu-central-1".to_owned())].into());
    assert!(residency.outside(&again, &remembered).is_some());
    // And without that, where the copy was taken from.
    assert!(residency.outside(&further, &Homes::default()).is_some());
}

#[test]
fn a_replica_is_at_home_where_its_first_source_is() {
    let source = resource(Kind::Instance, "eu-central-1", "dave-eu", "db-1");
    let mut near = resource(Kind::Instance, "eu-west-1", "dave-eu-near", "db-2");
    near.derived_from = Some("arn:aws:rds:eu-central-1:127450652264:db:dave-eu".to_owned());
    let mut far = resource(Kind::Instance, "us-east-1", "dave-eu-far", "db-3");
    far.derived_from = Some("arn:aws:rds:eu-west-1:127450652264:db:dave-eu-near".to_owned());
    let mut beside = resource(Kind::Instance, "us-east-1", "dave-eu-beside", "db-4");
    beside.derived_from = Some("dave-eu-far".to_owned());
    let backup_of_far = resource(Kind::AutomatedBackup, "us-east-1", "dave-eu-far", "db-3");
    let homes = Homes::new(&[source.clone(), near.clone(), far.clone(), beside.clone()], BTreeMap::new());
    let mut residency = residency();
    assert!(residency.outside(&source, &homes).is_none() && residency.outside(&near, &homes).is_none());
    for outside in [&far, &beside, &backup_of_far] {
        assert!(residency.outside(outside, &homes).is_some(), "{outside:?}");
    }
    residency.also_in.insert("eu-central-1".to_owned(), BTreeSet::from(["us-east-1".to_owned()]));
    for allowed in [&far, &beside, &backup_of_far] {
        assert_eq!(residency.outside(allowed, &homes), None);
    }
}

#[test]
fn nothing_leaves_a_region_without_recovery_and_nothing_lies_in_a_region_that_was_not_chosen() {
    let system = resource(Kind::Instance, "ca-central-1", "dave-ca", "db-ca");
    let copy = resource(Kind::Snapshot, "us-east-1", "copy", "db-ca");
    let elsewhere = resource(Kind::Instance, "ap-southeast-2", "dave-ap", "db-ap");
    let (residency, homes) = (residency(), Homes::new(std::slice::from_ref(&system), BTreeMap::new()));
    assert_eq!(residency.outside(&system, &homes), None);
    assert_eq!(
        residency.outside(&copy, &homes).unwrap(),
        "it holds data of ca-central-1, which may lie in ca-central-1 only"
    );
    assert!(residency.outside(&elsewhere, &homes).unwrap().contains("ap-southeast-2 is none of the chosen regions"));
}

#[test]
fn a_system_that_is_not_where_its_instance_was_placed_is_outside() {
    let mut system = resource(Kind::Instance, "us-east-1", "dave-sandbox", "db-s");
    system.instance = Some("sandbox".to_owned());
    let mut residency = residency();
    residency.places.insert("sandbox".to_owned(), "eu-central-1".to_owned());
    let why = residency.outside(&system, &Homes::new(std::slice::from_ref(&system), BTreeMap::new())).unwrap();
    assert_eq!(why, "its instance was placed in eu-central-1");
}
