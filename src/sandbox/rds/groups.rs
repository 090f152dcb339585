//! The groups that instances and clusters name: subnets, parameters, cluster parameters, options, security.
//!
//! The default groups of every engine are there without a row and can be neither changed nor deleted.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::{Answer, AwsError, Effect};
use super::context::{Context, changed, seen};
use super::engines::{self, ENGINES};
use super::error::{fault, invalid_value};
use super::params::{Params, Tags};
use super::rows::{Group, GroupBody};
use super::{shape, validate};

/// AWS's quota for each kind of group.
pub const MOST_GROUPS: usize = 50;

/// The names of one kind of group.
struct Kind {
    arn: &'static str,
    shape: &'static str,
    list: &'static str,
    name: &'static str,
    description: &'static str,
    not_found: &'static str,
    exists: &'static str,
    quota: &'static str,
    in_use: &'static str,
}

const SUBNETS: Kind = Kind {
    arn: "subgrp",
    shape: "DBSubnetGroup",
    list: "DBSubnetGroups",
    name: "DBSubnetGroupName",
    description: "DBSubnetGroupDescription",
    not_found: "DBSubnetGroupNotFoundFault",
    exists: "DBSubnetGroupAlreadyExists",
    quota: "DBSubnetGroupQuotaExceeded",
    in_use: "InvalidDBSubnetGroupStateFault",
};
const PARAMETERS: Kind = Kind {
    arn: "pg",
    shape: "DBParameterGroup",
    list: "DBParameterGroups",
    name: "DBParameterGroupName",
    description: "Description",
    not_found: "DBParameterGroupNotFound",
    exists: "DBParameterGroupAlreadyExists",
    quota: "DBParameterGroupQuotaExceeded",
    in_use: "InvalidDBParameterGroupState",
};
const CLUSTER_PARAMETERS: Kind = Kind {
    arn: "cluster-pg",
    shape: "DBClusterParameterGroup",
    list: "DBClusterParameterGroups",
    name: "DBClusterParameterGroupName",
    ..PARAMETERS
};
const OPTIONS: Kind = Kind {
    arn: "og",
    shape: "OptionGroup",
    list: "OptionGroupsList",
    name: "OptionGroupName",
    description: "OptionGroupDescription",
    not_found: "OptionGroupNotFoundFault",
    exists: "OptionGroupAlreadyExistsFault",
    quota: "OptionGroupQuotaExceededFault",
    in_use: "InvalidOptionGroupStateFault",
};
const SECURITY: Kind = Kind {
    arn: "secgrp",
    shape: "DBSecurityGroup",
    list: "DBSecurityGroups",
    name: "DBSecurityGroupName",
    description: "DBSecurityGroupDescription",
    not_found: "DBSecurityGroupNotFound",
    exists: "DBSecurityGroupAlreadyExists",
    quota: "QuotaExceeded.DBSecurityGroup",
    in_use: "InvalidDBSecurityGroupState",
};

/// Answers the operations on groups; `None` for any other.
pub fn handle(cx: &mut Context<'_>) -> Option<Result<Answer, AwsError>> {
    Some(match cx.action {
        "CreateDBSubnetGroup" => create_subnets(cx),
        "ModifyDBSubnetGroup" => modify_subnets(cx),
        "DescribeDBSubnetGroups" => describe(cx, &SUBNETS),
        "DeleteDBSubnetGroup" => delete(cx, &SUBNETS),
        "CreateDBParameterGroup" => create_parameters(cx, &PARAMETERS),
        "CopyDBParameterGroup" => copy(cx, &PARAMETERS),
        "CopyDBClusterParameterGroup" => copy(cx, &CLUSTER_PARAMETERS),
        "CopyOptionGroup" => copy(cx, &OPTIONS),
        "DescribeDBParameterGroups" => describe(cx, &PARAMETERS),
        "DescribeDBParameters" => values(cx, &PARAMETERS),
        "ModifyDBParameterGroup" => set_values(cx, &PARAMETERS),
        "ResetDBParameterGroup" => reset_values(cx, &PARAMETERS),
        "DeleteDBParameterGroup" => delete(cx, &PARAMETERS),
        "CreateDBClusterParameterGroup" => create_parameters(cx, &CLUSTER_PARAMETERS),
        "DescribeDBClusterParameterGroups" => describe(cx, &CLUSTER_PARAMETERS),
        "DescribeDBClusterParameters" => values(cx, &CLUSTER_PARAMETERS),
        "ModifyDBClusterParameterGroup" => set_values(cx, &CLUSTER_PARAMETERS),
        "ResetDBClusterParameterGroup" => reset_values(cx, &CLUSTER_PARAMETERS),
        "DeleteDBClusterParameterGroup" => delete(cx, &CLUSTER_PARAMETERS),
        "CreateOptionGroup" => create_options(cx),
        "DescribeOptionGroups" => describe(cx, &OPTIONS),
        "DeleteOptionGroup" => delete(cx, &OPTIONS),
        "CreateDBSecurityGroup" => Err(fault(
            "DBSecurityGroupNotSupported",
            "DB security groups are for EC2-Classic, which is retired. Use VPC security groups.",
        )),
        "DescribeDBSecurityGroups" => describe(cx, &SECURITY),
        "DeleteDBSecurityGroup" => delete(cx, &SECURITY),
        _ => return None,
    })
}

fn missing(kind: &Kind, name: &str) -> AwsError {
    let text = match kind.arn {
        "subgrp" => format!("DB subnet group '{name}' does not exist."),
        "og" => format!("Specified OptionGroupName: {name} not found."),
        _ => format!("{} not found: {name}", kind.shape),
    };
    fault(kind.not_found, text)
}

/// The named group, default ones included.
fn find(cx: &Context<'_>, kind: &Kind, name: &str) -> Result<Group, AwsError> {
    let name =
        cx.arn(kind.arn, name).and_then(|arn| super::ids::Arn::parse(&arn)).map_or_else(String::new, |arn| arn.id);
    cx.state
        .groups
        .get(&cx.place.arn(kind.arn, &name))
        .cloned()
        .or_else(|| defaults(cx, kind).into_iter().find(|group| group.name == name))
        .ok_or_else(|| missing(kind, &name))
}

/// The groups that every account has.
fn defaults(cx: &Context<'_>, kind: &Kind) -> Vec<Group> {
    let group = |name: String, description: String, body: GroupBody| Group {
        place: cx.place.clone(),
        name,
        description,
        body,
        tags: Tags::new(),
    };
    if kind.arn == "subgrp" {
        return vec![shape::default_subnet_group(&cx.place)];
    }
    if kind.arn == "secgrp" {
        return vec![group("default".to_owned(), "default".to_owned(), GroupBody::Security)];
    }
    let mut groups = Vec::new();
    for engine in ENGINES {
        for (major, _, family) in engine.majors {
            let family_name = (*family).to_owned();
            let about = format!("Default parameter group for {family}");
            match kind.arn {
                "og" => {
                    let name = format!("default:{}-{}", engine.name, major.replace('.', "-"));
                    let about = format!("Default option group for {} {major}", engine.name);
                    let body = GroupBody::Options { engine: engine.name.to_owned(), major: (*major).to_owned() };
                    groups.push(group(name, about, body));
                }
                "pg" => {
                    let body = GroupBody::Parameters { family: family_name, values: BTreeMap::new() };
                    groups.push(group(format!("default.{family}"), about, body));
                }
                _ if engine.is_aurora() || engine.has_multi_az_clusters() => {
                    let body = GroupBody::ClusterParameters { family: family_name, values: BTreeMap::new() };
                    groups.push(group(format!("default.{family}"), about, body));
                }
                _ => {}
            }
        }
    }
    groups
}

fn describe(cx: &mut Context<'_>, kind: &Kind) -> Result<Answer, AwsError> {
    let p = cx.p;
    p.filters(&[])?;
    let rows: Vec<Group> = match p.text(kind.name) {
        Some(name) => vec![find(cx, kind, name)?],
        None => {
            let prefix = cx.place.prefix(kind.arn);
            let own = cx.state.groups.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, row)| row.clone());
            let mut rows: Vec<Group> = own.collect();
            rows.extend(defaults(cx, kind));
            rows
        }
    };
    let of_engine = |row: &Group| match &row.body {
        GroupBody::Options { engine, major } => {
            p.text("EngineName").is_none_or(|asked| asked == engine)
                && p.text("MajorEngineVersion").is_none_or(|asked| asked == major)
        }
        _ => true,
    };
    let rows = rows.iter().filter(|row| of_engine(row)).map(|row| (row.name.clone(), row)).collect();
    Ok(seen(p.page(kind.list, kind.shape, rows, shape::group)?))
}

/// The name and description of a group that is to be made.
fn named(cx: &Context<'_>, kind: &Kind, parameter: &str) -> Result<String, AwsError> {
    let name = cx.p.required(parameter)?.to_lowercase();
    if name == "default" || name.starts_with("default.") || name.starts_with("default:") {
        return Err(invalid_value(format!("The parameter {parameter} is not a valid identifier: {name} is reserved.")));
    }
    let longest = 255;
    // A subnet group's name may hold dots, underscores and spaces too.
    let plain: String = if kind.arn == "subgrp" { name.replace(['.', '_', ' '], "x") } else { name.clone() };
    validate::identifier(parameter, &plain, longest)?;
    if cx.state.groups.contains(&cx.place.arn(kind.arn, &name)) {
        return Err(fault(kind.exists, format!("{} {name} already exists", kind.shape)));
    }
    let prefix = cx.place.prefix(kind.arn);
    if cx.state.groups.iter().filter(|(key, _)| key.starts_with(&prefix)).count() >= MOST_GROUPS {
        return Err(fault(kind.quota, format!("Cannot create more than {MOST_GROUPS} groups of this kind")));
    }
    Ok(name)
}

fn admit(cx: &mut Context<'_>, kind: &Kind, row: Group, what: &str) -> Answer {
    let arn = cx.place.arn(kind.arn, &row.name);
    let body = shape::group(&row);
    cx.state.groups.insert(arn.clone(), row);
    changed(kind.shape, body, arn, what)
}

fn new(cx: &Context<'_>, kind: &Kind, name: String, body: GroupBody) -> Result<Group, AwsError> {
    let description = cx.p.required(kind.description)?.to_owned();
    Ok(Group { place: cx.place.clone(), name, description, body, tags: cx.p.tags()? })
}

/// The sandbox has no EC2: a subnet is there by being named, each in the zone of its place in the list.
fn subnets(p: &Params<'_>, region: &str) -> Result<Vec<String>, AwsError> {
    let ids: Vec<String> = p.list("SubnetIds").unwrap_or_default().into_iter().map(str::to_owned).collect();
    if let Some(wrong) = ids.iter().find(|id| !id.starts_with("subnet-")) {
        return Err(fault("InvalidSubnet", format!("The subnet ID '{wrong}' does not exist")));
    }
    if ids.len() < 2 {
        return Err(fault(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            format!(
                "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: \
                 {region}a. Add subnets to cover at least 2 AZs."
            ),
        ));
    }
    Ok(ids)
}

fn create_subnets(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let name = named(cx, &SUBNETS, "DBSubnetGroupName")?;
    let ids = subnets(&cx.p, &cx.place.region)?;
    let row = new(cx, &SUBNETS, name, GroupBody::Subnets(ids))?;
    Ok(admit(cx, &SUBNETS, row, "created"))
}

fn modify_subnets(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = find(cx, &SUBNETS, cx.p.required("DBSubnetGroupName")?)?;
    row.body = GroupBody::Subnets(subnets(&cx.p, &cx.place.region)?);
    if let Some(description) = cx.p.text("DBSubnetGroupDescription") {
        description.clone_into(&mut row.description);
    }
    Ok(admit(cx, &SUBNETS, row, "modified"))
}

fn known_family(family: &str) -> Result<String, AwsError> {
    let known = ENGINES.iter().flat_map(|engine| engine.majors).any(|(_, _, known)| *known == family);
    if known {
        Ok(family.to_owned())
    } else {
        Err(invalid_value(format!("ParameterGroupFamily {family} is not a valid parameter group family")))
    }
}

fn parameters(kind: &Kind, family: String, values: BTreeMap<String, String>) -> GroupBody {
    if kind.arn == "pg" {
        GroupBody::Parameters { family, values }
    } else {
        GroupBody::ClusterParameters { family, values }
    }
}

fn create_parameters(cx: &mut Context<'_>, kind: &Kind) -> Result<Answer, AwsError> {
    let name = named(cx, kind, kind.name)?;
    let family = known_family(cx.p.required("DBParameterGroupFamily")?)?;
    let row = new(cx, kind, name, parameters(kind, family, BTreeMap::new()))?;
    Ok(admit(cx, kind, row, "created"))
}

/// The parameters of a copy are named after the group's shape: `SourceOptionGroupIdentifier`.
fn copy(cx: &mut Context<'_>, kind: &Kind) -> Result<Answer, AwsError> {
    let source = find(cx, kind, cx.p.required(&format!("Source{}Identifier", kind.shape))?)?;
    let name = named(cx, kind, &format!("Target{}Identifier", kind.shape))?;
    let description = cx.p.required(&format!("Target{}Description", kind.shape))?.to_owned();
    let row = Group { name, description, tags: cx.p.tags()?, ..source };
    Ok(admit(cx, kind, row, "copied"))
}

fn create_options(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let name = named(cx, &OPTIONS, "OptionGroupName")?;
    let engine = engines::engine(cx.p.required("EngineName")?)?;
    let major = cx.p.required("MajorEngineVersion")?;
    if !engine.majors.iter().any(|(known, _, _)| *known == major) {
        return Err(fault(
            "InvalidParameterCombination",
            format!("Cannot find major version {major} for {}", engine.name),
        ));
    }
    let body = GroupBody::Options { engine: engine.name.to_owned(), major: major.to_owned() };
    let row = new(cx, &OPTIONS, name, body)?;
    Ok(admit(cx, &OPTIONS, row, "created"))
}

fn delete(cx: &mut Context<'_>, kind: &Kind) -> Result<Answer, AwsError> {
    let named = cx.p.required(kind.name)?;
    let row = find(cx, kind, named)?;
    let arn = cx.place.arn(kind.arn, &row.name);
    if !cx.state.groups.contains(&arn) {
        return Err(fault(kind.in_use, format!("{} is a default group and cannot be deleted.", row.name)));
    }
    let instance = cx.instances().find(|other| {
        let group = match kind.arn {
            "subgrp" => &other.subnet_group,
            "pg" => &other.parameter_group,
            _ => &other.option_group,
        };
        kind.arn != "cluster-pg" && *group == row.name
    });
    let cluster = cx.clusters().find(|other| {
        (kind.arn == "subgrp" && other.subnet_group == row.name)
            || (kind.arn == "cluster-pg" && other.parameter_group == row.name)
    });
    let user = instance.map(|other| other.id.clone()).or_else(|| cluster.map(|other| other.id.clone()));
    if let Some(user) = user {
        return Err(fault(
            kind.in_use,
            format!(
                "Cannot delete the group '{}' because at least one database instance: {user} is still using it.",
                row.name
            ),
        ));
    }
    cx.state.groups.remove(&arn);
    Ok(Answer { body: json!({}), effect: Some(Effect { resource: arn, what: "deleted".to_owned() }) })
}

fn values_of(row: &Group) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    match &row.body {
        GroupBody::Parameters { values, .. } | GroupBody::ClusterParameters { values, .. } => values,
        GroupBody::Subnets(_) | GroupBody::Options { .. } | GroupBody::Security => &NONE,
    }
}

/// Only the parameters that a user has set are known here; the engine's own defaults are not listed.
fn values(cx: &mut Context<'_>, kind: &Kind) -> Result<Answer, AwsError> {
    let row = find(cx, kind, cx.p.required(kind.name)?)?;
    let source = cx.p.text("Source");
    let listed = |(name, value): (&String, &String)| {
        let body = json!({
            "ParameterName": name, "ParameterValue": value, "Source": "user", "ApplyType": "dynamic",
            "DataType": "string", "IsModifiable": true, "ApplyMethod": "pending-reboot",
        });
        (name.clone(), body)
    };
    let wanted = source.is_none_or(|source| source == "user");
    let rows = values_of(&row).iter().filter(|_| wanted).map(listed).collect();
    Ok(seen(cx.p.page("Parameters", "Parameter", rows, |body| body)?))
}

/// A group of the user's own whose values may be changed.
fn changeable(cx: &Context<'_>, kind: &Kind) -> Result<(Group, BTreeMap<String, String>), AwsError> {
    let row = find(cx, kind, cx.p.required(kind.name)?)?;
    if !cx.state.groups.contains(&cx.place.arn(kind.arn, &row.name)) {
        return Err(invalid_value(format!("The parameter group {} is a default one and cannot be modified", row.name)));
    }
    let values = values_of(&row).clone();
    Ok((row, values))
}

fn store_values(
    cx: &mut Context<'_>,
    kind: &Kind,
    mut row: Group,
    new: BTreeMap<String, String>,
    what: &str,
) -> Answer {
    if let GroupBody::Parameters { values, .. } | GroupBody::ClusterParameters { values, .. } = &mut row.body {
        *values = new;
    }
    let name = row.name.clone();
    let answer = admit(cx, kind, row, what);
    Answer { body: json!({ kind.name: name }), ..answer }
}

fn set_values(cx: &mut Context<'_>, kind: &Kind) -> Result<Answer, AwsError> {
    let (row, mut values) = changeable(cx, kind)?;
    for parameter in cx.p.structures("Parameters") {
        let value = parameter.text("ParameterValue").unwrap_or_default();
        values.insert(parameter.required("ParameterName")?.to_owned(), value.to_owned());
    }
    Ok(store_values(cx, kind, row, values, "parameters changed"))
}

fn reset_values(cx: &mut Context<'_>, kind: &Kind) -> Result<Answer, AwsError> {
    let (row, mut values) = changeable(cx, kind)?;
    if cx.p.flag("ResetAllParameters")?.unwrap_or(false) {
        values.clear();
    }
    for parameter in cx.p.structures("Parameters") {
        values.remove(parameter.required("ParameterName")?);
    }
    Ok(store_values(cx, kind, row, values, "parameters reset"))
}
