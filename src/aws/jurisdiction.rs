//! Under whose law the data of a region lies, by the region's name.
//!
//! Data stays in its jurisdiction unless somebody says otherwise, so a region's copies go by default to another chosen
//! region of the same one. A region that the table does not know is a jurisdiction of its own: nothing is copied out of it
//! by default. The regions are those of <https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html>.

/// The first prefix that fits decides.
const JURISDICTIONS: [(&str, &str); 31] = [
    ("us-gov-", "us-gov"),
    ("us-isob-", "us-isob"),
    ("us-isof-", "us-isof"),
    ("us-iso-", "us-iso"),
    ("us-", "us"),
    ("ca-", "canada"),
    ("mx-", "mexico"),
    ("sa-east-", "brazil"),
    ("eu-west-2", "united-kingdom"),
    ("eu-central-2", "switzerland"),
    ("eu-isoe-", "eu-isoe"),
    ("eu-", "eu"),
    ("eusc-", "eu-sovereign"),
    ("ap-northeast-1", "japan"),
    ("ap-northeast-2", "korea"),
    ("ap-northeast-3", "japan"),
    ("ap-south-", "india"),
    ("ap-southeast-1", "singapore"),
    ("ap-southeast-2", "australia"),
    ("ap-southeast-3", "indonesia"),
    ("ap-southeast-4", "australia"),
    ("ap-southeast-5", "malaysia"),
    ("ap-southeast-6", "new-zealand"),
    ("ap-southeast-7", "thailand"),
    ("ap-east-1", "hong-kong"),
    ("ap-east-2", "taiwan"),
    ("me-south-1", "bahrain"),
    ("me-central-1", "united-arab-emirates"),
    ("il-", "israel"),
    ("af-south-1", "south-africa"),
    ("cn-", "china"),
];

/// The jurisdiction of a region; of one that is not known, the region itself.
pub fn jurisdiction(region: &str) -> &str {
    JURISDICTIONS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or(region, |(_, name)| name)
}

/// Where the copies of `home` go when nobody says: the first other region of `chosen` in the same jurisdiction.
pub fn default_recovery<'a>(home: &str, chosen: &[&'a str]) -> Option<&'a str> {
    chosen.iter().copied().find(|region| *region != home && jurisdiction(region) == jurisdiction(home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_on_the_map_are_not_always_under_one_law() {
        assert_eq!(jurisdiction("eu-central-1"), jurisdiction("eu-west-1"));
        assert_eq!(jurisdiction("us-east-1"), jurisdiction("us-west-2"));
        assert_eq!(jurisdiction("ap-northeast-1"), jurisdiction("ap-northeast-3"));
        for (one, other) in [
            ("eu-west-1", "eu-west-2"),
            ("eu-central-1", "eu-central-2"),
            ("us-east-1", "us-gov-east-1"),
            ("us-east-1", "ca-central-1"),
            ("ap-southeast-1", "ap-southeast-2"),
            ("ap-northeast-1", "ap-northeast-2"),
            ("xx-new-1", "xx-new-2"),
        ] {
            assert_ne!(jurisdiction(one), jurisdiction(other), "{one} {other}");
        }
    }

    #[test]
    fn a_default_never_leaves_the_jurisdiction() {
        let chosen = ["us-east-1", "us-west-2", "eu-central-1", "eu-west-1", "ca-central-1"];
        assert_eq!(default_recovery("us-west-2", &chosen), Some("us-east-1"));
        assert_eq!(default_recovery("eu-central-1", &chosen), Some("eu-west-1"));
        assert_eq!(default_recovery("eu-west-1", &chosen), Some("eu-central-1"));
        assert_eq!(default_recovery("ca-central-1", &chosen), None);
    }
}
