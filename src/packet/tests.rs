use chrono::DateTime;

use super::*;

fn enterprise() -> Enterprise {
    Enterprise {
        id: "dave".to_owned(),
        name: "Dave & Sons <Ltd>".to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: Some("ellen@replicon.example".to_owned()),
        audit_emails: Vec::new(),
        version: 1,
        created_at: DateTime::UNIX_EPOCH,
    }
}

fn packet(format: Format, regions: &[String], links: &[Link]) -> String {
    let (config, enterprise) = (Config::default(), enterprise());
    let matter = Matter { config: &config, enterprise: &enterprise, regions, links, at: DateTime::UNIX_EPOCH };
    render(&matter, format).expect("the templates are whole")
}

/// What a browser shows of a text.
fn unescaped(format: Format, text: &str) -> String {
    let marks = [("&#x2f;", "/"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&amp;", "&")];
    match format {
        Format::Html => marks.iter().fold(text.to_owned(), |text, (mark, letter)| text.replace(mark, letter)),
        Format::Markdown => text.to_owned(),
    }
}

#[test]
fn both_forms_hold_endpoints_identifier_regions_and_every_script_whole() {
    let regions = ["us-west-2".to_owned(), "us-east-1".to_owned()];
    for format in [Format::Html, Format::Markdown] {
        let text = unescaped(format, &packet(format, &regions, &[]));
        for wanted in [
            "https://global.replicon.example/!/ems/enterprises/dave/cmk",
            "https://global.replicon.example/test/!/ems/enterprises/dave/cmk",
            "us-west-2",
            "ellen@replicon.example",
            "wrong-environment",
            "one-time link",
            "customer wrap-key",
        ] {
            assert!(text.contains(wanted), "{format:?} lacks {wanted}");
        }
        assert!(!text.contains("eu-central-1"), "regions that were not chosen are offered");
        for script in &SCRIPTS {
            let source = tailored(script, &Config::default(), "dave");
            let shown = source.trim_end();
            assert!(text.contains(shown), "{format:?} does not hold {} as it is", script.file);
        }
    }
}

#[test]
fn before_regions_are_agreed_those_on_offer_are_listed() {
    assert!(packet(Format::Html, &[], &[]).contains("eu-central-1"));
}

#[test]
fn what_an_enterprise_is_called_cannot_become_markup() {
    let html = packet(Format::Html, &[], &[]);
    assert!(html.contains("Dave &amp; Sons &lt;Ltd&gt;") && !html.contains("<Ltd>"));
    let markdown = packet(Format::Markdown, &[], &[]);
    assert!(markdown.starts_with("# Replicon: key import for Dave & Sons Ltd\n"), "{}", &markdown[..80]);
}

#[test]
fn one_time_links_stand_beside_their_environment() {
    let link = Link {
        environment: Environment::Test,
        link: "https://global.replicon.example/handover/abc#code".to_owned(),
        expires_at: DateTime::UNIX_EPOCH,
    };
    let shown = format!("{link:?}");
    let text = packet(Format::Markdown, &[], &[link]);
    assert!(text.contains("- Test: <https://global.replicon.example/handover/abc#code> works once, until 1970"));
    assert!(text.contains("- Production: your onboarding engineer sends you a one-time link."));
    assert!(!shown.contains("code"), "{shown}");
}

#[test]
fn no_placeholder_is_left_in_a_tailored_script_and_no_name_breaks_out_of_its_comment() {
    let mut config = Config::default();
    config.vendor.name = "A\"\"\"\nimport os # B & Co".to_owned();
    for script in &SCRIPTS {
        assert!(script.source.contains("@ENTERPRISE@"), "{} is not tailored at all", script.file);
        let text = tailored(script, &config, "dave");
        assert!(text.contains("into Aimport os  B & Co"), "{}", script.file);
        for name in ["@VENDOR@", "@PREFIX@", "@ENTERPRISE@", "@TEST_ENDPOINT@", "@PRODUCTION_ENDPOINT@"] {
            assert!(!text.contains(name), "{} holds {name}", script.file);
        }
    }
}

#[test]
fn no_script_uses_a_deprecated_command() {
    for script in &SCRIPTS {
        for old in ["rsautl", "-md sha1", "pass:RepliconRocks"] {
            assert!(!script.source.contains(old), "{} uses {old}", script.file);
        }
    }
}
