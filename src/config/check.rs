//! What a configuration must hold to be used at all. Every finding is one line: the key, what is wrong, what it may be.

use std::collections::BTreeSet;

use super::{Aws, Config, Customer, Mail, Partition, Vendor, Worker, mail_address};

/// What an audit must still find, in days.
const SHORTEST_TRAIL_DAYS: u32 = 30;

/// Two renames: one that began at the cutoff, and the one that goes back.
const SHORTEST_GO_BACK_MINUTES: u64 = 20;

impl Config {
    /// Everything that cannot be right; nothing when the configuration can be used.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        vendor(&self.vendor, &mut findings);
        customer(&self.customer, &mut findings);
        aws(&self.aws, &mut findings);
        mail(&self.mail, &mut findings);
        worker(&self.worker, &mut findings);
        if self.windows.go_back_minutes < SHORTEST_GO_BACK_MINUTES {
            findings.push(format!(
                "windows.go_back_minutes: at least {SHORTEST_GO_BACK_MINUTES}: going back is a rename, for which AWS names \
                 about 10 minutes, after one that may have just begun"
            ));
        }
        if self.windows.go_back_minutes > 24 * 60 {
            findings.push("windows.go_back_minutes: more than a day; a window could never hold it".to_owned());
        }
        if !(self.sandbox.speed.is_finite() && self.sandbox.speed > 0.0) {
            findings.push(format!("sandbox.speed: {} is not a number above 0", self.sandbox.speed));
        }
        findings
    }
}

fn vendor(vendor: &Vendor, findings: &mut Vec<String>) {
    if vendor.name.trim().is_empty() || vendor.name.chars().any(char::is_control) {
        findings.push(
            "vendor.name: must be a name without control characters; customers read it in the key policy".to_owned(),
        );
    }
    let prefix = &vendor.customer_api_prefix;
    // It stands in routes and in the scripts that customers run: nothing in it may mean anything to either.
    let plain = prefix.chars().all(|c| c.is_ascii_alphanumeric() || "/!._~-".contains(c));
    if !prefix.starts_with('/') || prefix.len() < 2 || prefix.ends_with('/') || prefix.contains("//") || !plain {
        findings.push(format!(
            "vendor.customer_api_prefix: `{prefix}` is not a path such as `/!/ems`, of letters, digits and `!._~-`"
        ));
    }
    let first = prefix.split('/').nth(1).unwrap_or_default();
    if ["api", "handover", "healthz", "readyz", "metrics", "openapi.json", "test"].contains(&first) {
        findings.push(format!("vendor.customer_api_prefix: `/{first}` is taken by keyferry itself"));
    }
    let addresses = [
        ("vendor.support_email", &vendor.support_email),
        ("vendor.engineer_email", &vendor.engineer_email),
        ("vendor.csm_email", &vendor.csm_email),
    ];
    for (key, text) in addresses {
        address(key, text, findings);
    }
}

fn customer(customer: &Customer, findings: &mut Vec<String>) {
    let urls = [("customer.public_url", &customer.public_url), ("customer.test_public_url", &customer.test_public_url)];
    for (key, text) in urls {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
        let plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || "/.:_~[]-".contains(c));
        if rest.is_empty() || rest.starts_with('/') || rest.ends_with('/') || !plain {
            findings.push(format!(
                "{key}: `{text}` is not a URL such as `https://keys.example.com`, without a `/` at its end"
            ));
        }
    }
    if customer.public_url == customer.test_public_url {
        findings.push("customer.test_public_url: must differ from customer.public_url".to_owned());
    }
    for text in &customer.trusted_proxies {
        if text.parse::<ipnet::IpNet>().is_err() && text.parse::<std::net::IpAddr>().is_err() {
            findings.push(format!("customer.trusted_proxies: `{text}` is not a network such as `10.0.0.0/8`"));
        }
    }
    if !["x-forwarded-for", "forwarded"].contains(&customer.forwarded_header.as_str()) {
        let found = &customer.forwarded_header;
        findings.push(format!("customer.forwarded_header: `{found}` is not `x-forwarded-for` or `forwarded`"));
    }
    let rates = [
        ("customer.key_requests_per_minute", customer.key_requests_per_minute),
        ("customer.address_failures_per_minute", customer.address_failures_per_minute),
    ];
    for (key, rate) in rates {
        if rate == 0 {
            findings.push(format!("{key}: must be at least 1"));
        }
    }
    if (1..SHORTEST_TRAIL_DAYS).contains(&customer.trail_days) {
        let found = customer.trail_days;
        findings.push(format!(
            "customer.trail_days: {found} is less than {SHORTEST_TRAIL_DAYS}; 0 keeps the trail for ever"
        ));
    }
}

fn aws(aws: &Aws, findings: &mut Vec<String>) {
    if aws.partitions.is_empty() {
        findings.push("aws.partitions: needs at least one partition".to_owned());
    }
    for (name, partition) in &aws.partitions {
        check_partition(name, partition, findings);
    }
    for (key, tag) in [("aws.enterprise_tag", &aws.enterprise_tag), ("aws.instance_tag", &aws.instance_tag)] {
        if tag.is_empty() || tag.chars().count() > 128 || tag.to_ascii_lowercase().starts_with("aws:") {
            findings.push(format!("{key}: `{tag}` is not a tag key (1 to 128 characters, not beginning with `aws:`)"));
        }
    }
    if aws.enterprise_tag == aws.instance_tag {
        findings.push("aws.instance_tag: must differ from aws.enterprise_tag".to_owned());
    }
    for (region, groups) in &aws.closing_groups {
        let key = format!("aws.closing_groups.{region}");
        if region_partition(region).is_none() {
            findings.push(format!("{key}: `{region}` is not the name of a region"));
        }
        for (vpc, group) in groups {
            if !vpc.starts_with("vpc-") || !group.starts_with("sg-") {
                findings.push(format!("{key}: `{vpc} = {group}` is not a VPC (vpc-…) and a security group (sg-…)"));
            }
        }
    }
    if aws.poll_s == 0 {
        findings.push("aws.poll_s: must be at least 1 second".to_owned());
    }
    if aws.custody_check_s < 60 {
        findings.push("aws.custody_check_s: must be at least 60 seconds".to_owned());
    }
}

fn check_partition(name: &str, partition: &Partition, findings: &mut Vec<String>) {
    let key = format!("aws.partitions.{name}");
    let account = &partition.account;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        findings.push(format!("{key}.account: `{account}` is not 12 digits"));
    }
    let role = &partition.role;
    let role_ok = |c: char| c.is_ascii_alphanumeric() || "+=,.@_/-".contains(c);
    if role.is_empty() || role.starts_with('/') || role.ends_with('/') || !role.chars().all(role_ok) {
        findings
            .push(format!("{key}.role: `{role}` is not a role's name or path, such as `keyferry` or `ops/keyferry`"));
    }
    if partition.regions.len() < 2 {
        findings.push(format!("{key}.regions: needs at least two, the primary and the one for disaster recovery"));
    }
    let mut seen = BTreeSet::new();
    for region in &partition.regions {
        match region_partition(region) {
            None => findings.push(format!("{key}.regions: `{region}` is not the name of a region")),
            Some(of) if of != name => {
                findings.push(format!("{key}.regions: `{region}` belongs to the partition `{of}`"));
            }
            Some(_) => {}
        }
        if !seen.insert(region) {
            findings.push(format!("{key}.regions: `{region}` is there twice"));
        }
    }
}

/// The partition that a region's name places it in, `None` for what is no region's name.
fn region_partition(region: &str) -> Option<&'static str> {
    let (place, number) = region.rsplit_once('-')?;
    let words = place.split('-').count();
    let spelled = place.split('-').all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()));
    if words < 2 || !spelled || number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(match place {
        _ if place.starts_with("us-gov-") => "aws-us-gov",
        _ if place.starts_with("cn-") => "aws-cn",
        _ if place.starts_with("us-isob-") => "aws-iso-b",
        _ if place.starts_with("us-iso-") => "aws-iso",
        _ => "aws",
    })
}

fn mail(mail: &Mail, findings: &mut Vec<String>) {
    address("mail.from", &mail.from, findings);
    if mail.smtp_port == 0 {
        findings.push("mail.smtp_port: 0 is not a port".to_owned());
    }
    if !["none", "starttls", "tls"].contains(&mail.smtp_tls.as_str()) {
        findings.push(format!("mail.smtp_tls: `{}` is not `none`, `starttls` or `tls`", mail.smtp_tls));
    }
    if mail.smtp_username.is_some() != mail.smtp_password_env.is_some() {
        findings.push("mail.smtp_username and mail.smtp_password_env: set both or neither".to_owned());
    }
    if mail.smtp_username.is_some() && mail.smtp_tls == "none" {
        findings.push("mail.smtp_tls: a password is never sent without TLS; set `starttls` or `tls`".to_owned());
    }
}

fn worker(worker: &Worker, findings: &mut Vec<String>) {
    if !(1..=1024).contains(&worker.concurrency) {
        findings.push(format!("worker.concurrency: {} is not within 1 to 1024", worker.concurrency));
    }
    if !(5..=3600).contains(&worker.lease_s) {
        findings.push(format!("worker.lease_s: {} is not within 5 to 3600 seconds", worker.lease_s));
    }
    if worker.crash_limit == 0 {
        findings.push("worker.crash_limit: must be at least 1".to_owned());
    }
}

fn address(key: &str, text: &str, findings: &mut Vec<String>) {
    findings.extend(mail_address(text).err().map(|reason| format!("{key}: {reason}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_finding(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        let findings = config.findings();
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.into_iter().next().unwrap_or_default()
    }

    fn commercial(config: &mut Config) -> &mut Partition {
        config.aws.partitions.get_mut("aws").expect("the default has it")
    }

    #[test]
    fn the_defaults_hold() {
        assert_eq!(Config::default().findings(), Vec::<String>::new());
    }

    #[test]
    fn each_finding_names_its_key_and_the_value() {
        let account = only_finding(|config| commercial(config).account = "12745065226".to_owned());
        assert!(account.starts_with("aws.partitions.aws.account: `12745065226`"), "{account}");
        let region = only_finding(|config| commercial(config).regions[0] = "us-gov-west-1".to_owned());
        assert!(region.contains("belongs to the partition `aws-us-gov`"), "{region}");
        let nonsense = only_finding(|config| commercial(config).regions[0] = "oregon".to_owned());
        assert!(nonsense.contains("`oregon` is not the name of a region"), "{nonsense}");
        let twice = only_finding(|config| {
            let first = commercial(config).regions[0].clone();
            commercial(config).regions[1] = first;
        });
        assert!(twice.contains("is there twice"), "{twice}");
        let speed = only_finding(|config| config.sandbox.speed = f64::NAN);
        assert!(speed.starts_with("sandbox.speed:"), "{speed}");
        let from = only_finding(|config| config.mail.from = "a@b\r\nBcc: c@d".to_owned());
        assert!(from.starts_with("mail.from:") && !from.contains('\n'), "{from}");
        let tls = only_finding(|config| config.mail.smtp_tls = "ssl".to_owned());
        assert!(tls.contains("`ssl`"), "{tls}");
        let prefix = only_finding(|config| config.vendor.customer_api_prefix = "ems/".to_owned());
        assert!(prefix.starts_with("vendor.customer_api_prefix:"), "{prefix}");
        for taken in ["/api/ems", "/test/ems", "/handover"] {
            let prefix = only_finding(|config| config.vendor.customer_api_prefix = taken.to_owned());
            assert!(prefix.contains("is taken"), "{prefix}");
        }
        let quoted = only_finding(|config| config.vendor.customer_api_prefix = "/$(id)/ems".to_owned());
        assert!(quoted.starts_with("vendor.customer_api_prefix:"), "{quoted}");
        let url = only_finding(|config| config.customer.public_url = "keys.example.com".to_owned());
        assert!(url.starts_with("customer.public_url: `keys.example.com`"), "{url}");
        let proxy = only_finding(|config| config.customer.trusted_proxies = vec!["10.0.0.0/33".to_owned()]);
        assert!(proxy.starts_with("customer.trusted_proxies: `10.0.0.0/33`"), "{proxy}");
        let header = only_finding(|config| config.customer.forwarded_header = "x-real-ip".to_owned());
        assert!(header.starts_with("customer.forwarded_header:"), "{header}");
        let rate = only_finding(|config| config.customer.key_requests_per_minute = 0);
        assert!(rate.starts_with("customer.key_requests_per_minute:"), "{rate}");
        let days = only_finding(|config| config.customer.trail_days = 29);
        assert!(days.starts_with("customer.trail_days: 29 is less than 30"), "{days}");
    }

    #[test]
    fn a_password_never_travels_without_tls() {
        let finding = only_finding(|config| {
            config.mail.smtp_username = Some("keyferry".to_owned());
            config.mail.smtp_password_env = Some("SMTP_PASSWORD".to_owned());
        });
        assert!(finding.starts_with("mail.smtp_tls:"), "{finding}");
    }
}
