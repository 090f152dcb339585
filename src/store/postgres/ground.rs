//! Which schema holds the installation, and whether its tables can be worked with: privileges, and sequences that are where their
//! tables are.

use sqlx::{PgConnection, Row as _};

use super::session::quoted;

/// Schemas that hold an installation, with their place on the search path, the first ones first.
const INSTALLATIONS: &str = "SELECT n.nspname::text AS schema, array_position(current_schemas(false), n.nspname) AS place, \
     has_schema_privilege(n.oid, 'USAGE') AS usable \
     FROM pg_namespace n WHERE 4 = (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') \
     AND c.relname IN ('runs', 'frames', 'history', 'payloads')) ORDER BY place NULLS LAST, schema";
/// Where tables would be made, and by whom.
const HERE: &str = "SELECT current_schema()::text AS schema, current_user::text AS role, current_setting('search_path') AS path, \
     COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false) AS free, \
     (SELECT source = 'client' FROM pg_settings WHERE name = 'search_path') AS of_url";
/// What the role may not use.
const REFUSED: &str = "SELECT c.relname::text AS name, current_user::text AS role, pg_get_userbyid(c.relowner)::text AS owner FROM pg_class c \
     WHERE c.relnamespace = $1::text::regnamespace AND (c.relkind IN ('r', 'p') AND NOT (has_table_privilege(c.oid, 'SELECT') AND \
     (c.relname IN ('_sqlx_migrations', 'installation') OR has_table_privilege(c.oid, 'INSERT'))) \
     OR c.relkind = 'S' AND NOT has_sequence_privilege(c.oid, 'USAGE')) ORDER BY name LIMIT 1";
/// The sequences, each with the column that it numbers.
const SEQUENCES: &str = "SELECT s.relname::text AS sequence, t.relname::text AS of, a.attname::text AS member \
     FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') \
     JOIN pg_class t ON t.oid = d.refobjid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
     WHERE s.relkind = 'S' AND s.relnamespace = $1::text::regnamespace \
     UNION ALL SELECT 'runs_n', 'runs', 'n' ORDER BY 1";

/// The schema to work in and whether it has an installation, or why there is none. An installation is looked for on the search path; one that is elsewhere is no
/// reason to begin another.
pub(super) async fn schema(connection: &mut PgConnection) -> Result<Result<(String, bool), String>, sqlx::Error> {
    let rows = sqlx::query(INSTALLATIONS).persistent(false).fetch_all(&mut *connection).await?;
    let mut on_path = Vec::new();
    let mut elsewhere = Vec::new();
    for row in &rows {
        let schema: String = row.try_get("schema")?;
        match row.try_get::<Option<i32>, _>("place")? {
            Some(_) => on_path.push(schema),
            None => elsewhere.push((schema, row.try_get::<bool, _>("usable")?)),
        }
    }
    if on_path.len() > 1 {
        tracing::warn!(schemas = ?on_path, "several schemas on the search_path hold an installation: the first one is used");
    }
    if let Some(found) = on_path.into_iter().next() {
        return Ok(Ok((found, true)));
    }
    let here = sqlx::query(HERE).persistent(false).fetch_one(&mut *connection).await?;
    let (role, path): (String, String) = (here.try_get("role")?, here.try_get("path")?);
    let current: Option<String> = here.try_get("schema")?;
    let role = quoted(&role);
    Ok(match (elsewhere.first(), current) {
        (Some((schema, false)), _) => Err(format!(
            "its installation is in the schema {schema}, which the role may not use: GRANT USAGE ON SCHEMA {} TO {role};",
            quoted(schema)
        )),
        // What the URL says goes before what the role has.
        (Some((schema, true)), _) if here.try_get::<bool, _>("of_url")? => Err(format!(
            "its installation is in the schema {schema}, and the search_path of the URL's options ({path}) does not lead there; no \
             other is begun beside it: take it out of the URL, or name {schema} there"
        )),
        (Some((schema, true)), _) => Err(format!(
            "its installation is in the schema {schema}, and search_path ({path}) does not lead there; no other is begun beside it: \
             ALTER ROLE {role} SET search_path = {};",
            quoted(schema)
        )),
        (None, None) => Err(format!(
            "search_path ({path}) names no schema that is there and that the role may use: CREATE SCHEMA IF NOT EXISTS keyferry \
             AUTHORIZATION {role}; ALTER ROLE {role} SET search_path = keyferry;"
        )),
        (None, Some(schema)) if !here.try_get::<bool, _>("free")? => Err(format!(
            "the role may make no tables in the schema {schema}: GRANT USAGE, CREATE ON SCHEMA {} TO {role};",
            quoted(&schema)
        )),
        (None, Some(schema)) => Ok((schema, false)),
    })
}

/// Whether the role may use the tables and sequences, or what gives it that.
pub(super) async fn privileges(connection: &mut PgConnection, schema: &str) -> Result<Result<(), String>, sqlx::Error> {
    let row = sqlx::query(REFUSED).bind(quoted(schema)).persistent(false).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(Ok(())) };
    let (name, role, owner): (String, String, String) =
        (row.try_get("name")?, row.try_get("role")?, row.try_get("owner")?);
    let (schema, role) = (quoted(schema), quoted(&role));
    Ok(Err(format!(
        "the role may not use {name}, which is {owner}'s: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}; \
         GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role};"
    )))
}

/// What is said when tables have to be brought up to date by a role that may not.
pub(super) fn not_owner(error: &sqlx::migrate::MigrateError) -> Option<String> {
    let (sqlx::migrate::MigrateError::Execute(cause) | sqlx::migrate::MigrateError::ExecuteMigration(cause, _)) = error
    else {
        return None;
    };
    let denied = cause.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42501"));
    denied.then(|| {
        format!(
            "{cause}. This version changes tables, which only their owner may: start it once with the owner's URL, or make the \
             role their owner"
        )
    })
}

/// Whether no sequence is behind its table, as a logical replication or a copy of the tables alone leaves them: then every new row
/// is refused as one that is there already, and nothing is damaged.
pub(super) async fn sequences(connection: &mut PgConnection, schema: &str) -> Result<Result<(), String>, sqlx::Error> {
    let mut behind = Vec::new();
    for row in sqlx::query(SEQUENCES).bind(quoted(schema)).persistent(false).fetch_all(&mut *connection).await? {
        let name = |member: &str| row.try_get::<String, _>(member).map(|name| quoted(&name));
        let (sequence, of, member) = (name("sequence")?, name("of")?, name("member")?);
        let schema = quoted(schema);
        let look = format!(
            "SELECT COALESCE((SELECT max({member}) FROM {schema}.{of}), 0) AS most, last_value - (NOT is_called)::int AS given \
             FROM {schema}.{sequence}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(look)).persistent(false).fetch_one(&mut *connection).await?;
        if row.try_get::<i64, _>("most")? > row.try_get::<i64, _>("given")? {
            behind.push(format!("SELECT setval('{schema}.{sequence}', (SELECT max({member}) FROM {schema}.{of}));"));
        }
    }
    if behind.is_empty() {
        return Ok(Ok(()));
    }
    Ok(Err(format!(
        "sequences are behind their tables, as a logical replication leaves them, so that new rows would take numbers that are taken. \
         Nothing is damaged; move them: {}",
        behind.join(" ")
    )))
}
