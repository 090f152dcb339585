//! Other people's settings of a role or a database, before the start and while it runs; schemas, privileges, sequences, and a
//! server that leads elsewhere.

use super::*;

/// What a DBA may have set for everybody, and what keyferry's statements would make of it.
const ODD: &[(&str, &str)] = &[
    ("statement_timeout", "'1ms'"),
    ("lock_timeout", "'1ms'"),
    ("idle_in_transaction_session_timeout", "'1ms'"),
    ("idle_session_timeout", "'50ms'"),
    ("default_transaction_isolation", "'serializable'"),
    ("default_transaction_deferrable", "on"),
    ("synchronous_commit", "off"),
    ("synchronous_commit", "local"),
    ("client_encoding", "'SQL_ASCII'"),
    ("standard_conforming_strings", "off"),
    ("bytea_output", "'escape'"),
    ("DateStyle", "'German, DMY'"),
    ("IntervalStyle", "'sql_standard'"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("row_security", "off"),
    ("transform_null_equals", "on"),
    ("quote_all_identifiers", "on"),
    ("work_mem", "'64kB'"),
    ("array_nulls", "off"),
    ("extra_float_digits", "-15"),
    ("enable_indexscan", "off"),
];

/// A database that belongs to a role of its own, which is no superuser.
struct Owned {
    role: String,
    url: String,
    database: Database,
}

impl Owned {
    async fn make() -> Option<Self> {
        let database = Database::make().await?;
        let role = format!("role_{}", database.name());
        database.run(&format!("CREATE ROLE {role} LOGIN")).await;
        database.run(&format!("ALTER DATABASE {{}} OWNER TO {role}")).await;
        let url = database.url().replacen("keyferry@", &format!("{role}@"), 1);
        Some(Self { role, url, database })
    }

    /// As the superuser, in the database itself; `{role}` and `{}` are the names.
    async fn says(&self, statements: &str) {
        let mut connection = PgConnection::connect(self.database.url()).await.unwrap();
        let text = statements.replace("{role}", &self.role).replace("{}", self.database.name());
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    }

    /// Ends every session of the role: the next are new ones.
    async fn cut(&self) {
        self.says("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'").await;
    }

    async fn open(&self) -> Result<PostgresStore, StoreError> {
        PostgresStore::open(&self.url).await
    }

    /// Why it is not opened; then with what the reason says to do, to the word, it is.
    async fn refused_until_told(&self, says: &str) -> PostgresStore {
        let StoreError::Unfit { reason, .. } = self.open().await.expect_err("it was opened") else {
            panic!("it is unfit")
        };
        assert!(reason.contains(says), "{reason}");
        let at =
            ["GRANT", "ALTER", "CREATE", "SELECT"].iter().filter_map(|verb| reason.find(&format!(": {verb} "))).min();
        let cure = &reason[at.unwrap_or_else(|| panic!("it says nothing to do: {reason}")) + 2..];
        self.says(cure).await;
        self.open().await.unwrap_or_else(|error| panic!("{cure}: {error}"))
    }

    async fn count(&self, statement: &'static str) -> i64 {
        count(&mut PgConnection::connect(self.database.url()).await.unwrap(), statement).await
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.database.drop_with(&self.role);
    }
}

async fn shown(store: &PostgresStore, name: &'static str) -> String {
    let found = store.inner.writes.ask(false, move |connection| {
        Box::pin(async move {
            let query = sqlx::query_scalar::<_, String>("SELECT current_setting($1)").bind(name);
            Ok(query.fetch_one(connection).await?)
        })
    });
    found.await.unwrap()
}

async fn works(store: &PostgresStore, run: &str, setting: &str) {
    assert_eq!(store.commit(Arc::from([conformance::start(run)])).await, Ok(vec![Ok(())]), "{setting}");
    assert_eq!(store.load(run).await.map(|loaded| loaded.snapshot.header.revision), Ok(1), "{setting}");
    store.probe().await.unwrap_or_else(|error| panic!("{setting}: {error}"));
    assert_eq!(shown(store, "synchronous_commit").await, "on", "{setting}");
    assert_eq!(shown(store, "default_transaction_isolation").await, "read committed", "{setting}");
}

#[tokio::test]
async fn a_setting_of_the_role_or_the_database_changes_nothing() {
    let Some(owned) = Owned::make().await else { return };
    let running = owned.open().await.unwrap();
    conformance::prepare(&running).await;
    for (number, (name, value)) in ODD.iter().enumerate() {
        // Of the role, and of the database.
        let owner = if number % 2 == 0 { "ROLE {role}" } else { "DATABASE {}" };
        let set = format!("ALTER {owner} SET {name} = {value}");
        owned.says(&set).await;
        owned.cut().await;
        works(&running, &format!("running-{number}"), &set).await;
        let store = owned.open().await.unwrap_or_else(|error| panic!("{set}: {error}"));
        works(&store, &format!("begun-{number}"), &set).await;
        store.close().await;
        owned.says(&format!("ALTER {owner} RESET {name}")).await;
    }
}

#[tokio::test]
async fn all_of_them_together_change_nothing_of_what_is_kept() {
    let Some(owned) = Owned::make().await else { return };
    for (name, value) in ODD {
        owned.says(&format!("ALTER ROLE {{role}} SET {name} = {value}")).await;
    }
    let store = owned.open().await.unwrap();
    conformance::prepare(&store).await;
    conformance::a_turn_is_read_back_whole(&store).await;
    works(&store, "together", "all").await;
}

#[tokio::test]
async fn a_session_in_which_triggers_do_not_run_is_refused_or_mended() {
    let Some(owned) = Owned::make().await else { return };
    owned.says("ALTER DATABASE {} SET session_replication_role = replica").await;
    // A superuser's session is given the role of an origin; another may not change it, and is told who can.
    let store = PostgresStore::open(owned.database.url()).await.unwrap();
    assert_eq!(shown(&store, "session_replication_role").await, "origin");
    store.close().await;
    let refused = owned.open().await.expect_err("it was opened");
    assert!(
        matches!(&refused, StoreError::Unfit { reason, .. } if reason.contains("RESET session_replication_role")),
        "{refused}"
    );
    owned.says("ALTER DATABASE {} RESET session_replication_role").await;
}

#[tokio::test]
async fn no_second_installation_is_begun_beside_the_first() {
    let Some(owned) = Owned::make().await else { return };
    let store = owned.open().await.unwrap();
    conformance::prepare(&store).await;
    assert_eq!(store.commit(Arc::from([conformance::start("r")])).await, Ok(vec![Ok(())]));
    let id = store.inner.session.installation.clone();
    // A schema named like the user comes first on the search path: it has no installation.
    owned.says("CREATE SCHEMA {role} AUTHORIZATION {role}").await;
    owned.cut().await;
    assert!(store.load("r").await.is_ok(), "it goes on where it was");
    let other = owned.open().await.unwrap();
    assert_eq!((&other.inner.session.installation, &*other.inner.session.schema), (&id, "public"));
    assert!(other.load("r").await.is_ok());
    other.close().await;
    // A search path that leads elsewhere, to nothing, or nowhere.
    for path in ["elsewhere", "missing", "''"] {
        owned.says("CREATE SCHEMA IF NOT EXISTS elsewhere AUTHORIZATION {role}").await;
        owned.says(&format!("ALTER ROLE {{role}} SET search_path = {path}")).await;
        owned.cut().await;
        assert!(store.load("r").await.is_ok(), "{path}: it goes on where it was");
        let again = owned.refused_until_told("its installation is in the schema public").await;
        assert_eq!(again.inner.session.installation, id, "{path}");
        again.close().await;
    }
    // One that the URL names is not mended by what the role has.
    let url = format!("{}?options[search_path]=elsewhere", owned.url);
    let refused = PostgresStore::open(&url).await.expect_err("it was opened");
    assert!(
        matches!(&refused, StoreError::Unfit { reason, .. } if reason.contains("take it out of the URL")),
        "{refused}"
    );
    assert_eq!(owned.count("SELECT count(*) FROM pg_class WHERE relname = 'history'").await, 1);
}

#[tokio::test]
async fn what_the_role_may_not_do_is_named_with_the_grant() {
    let Some(owned) = Owned::make().await else { return };
    owned.says("REVOKE CREATE ON SCHEMA public FROM PUBLIC; ALTER SCHEMA public OWNER TO keyferry").await;
    owned.refused_until_told("may make no tables in the schema public").await.close().await;
    let Some(owned) = Owned::make().await else { return };
    owned.says("DROP SCHEMA public").await;
    owned.refused_until_told("names no schema that is there").await.close().await;
    // Somebody else's tables.
    let Some(owned) = Owned::make().await else { return };
    PostgresStore::open(owned.database.url()).await.unwrap().close().await;
    owned.says("REVOKE USAGE ON SCHEMA public FROM PUBLIC; ALTER SCHEMA public OWNER TO keyferry").await;
    let StoreError::Unfit { reason, .. } = owned.open().await.expect_err("it was opened") else {
        panic!("it is unfit")
    };
    assert!(reason.contains("GRANT USAGE ON SCHEMA"), "{reason}");
    owned.says("GRANT USAGE ON SCHEMA public TO {role}").await;
    let store = owned.refused_until_told("may not use").await;
    conformance::prepare(&store).await;
    works(&store, "granted", "granted").await;
    // Taken away while it runs.
    owned.says("REVOKE ALL ON runs FROM {role}").await;
    let refused = store.load("granted").await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable { reason } if reason.contains("GRANT")), "{refused}");
}

#[tokio::test]
async fn sequences_behind_their_tables_are_no_damage() {
    let Some(owned) = Owned::make().await else { return };
    let store = owned.open().await.unwrap();
    conformance::prepare(&store).await;
    for number in 0..12 {
        let run = format!("r{number}");
        assert_eq!(store.commit(Arc::from([conformance::start(&run)])).await, Ok(vec![Ok(())]));
    }
    owned.says("SELECT setval('runs_n', 1, false); ALTER TABLE definitions ALTER COLUMN n RESTART").await;
    let refused = store.commit(Arc::from([conformance::start("another")])).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Unavailable { reason } if reason.contains("a sequence is behind its table")),
        "{refused}"
    );
    store.close().await;
    let store = owned.refused_until_told("Nothing is damaged").await;
    assert_eq!(store.commit(Arc::from([conformance::start("another")])).await, Ok(vec![Ok(())]));
}

#[tokio::test]
async fn a_database_that_was_read_only_is_written_to_at_the_next_try() {
    let Some(owned) = Owned::make().await else { return };
    let store = owned.open().await.unwrap();
    conformance::prepare(&store).await;
    owned.says("ALTER DATABASE {} SET default_transaction_read_only = on").await;
    owned.cut().await;
    for _ in 0..20 {
        let refused = store.probe().await.unwrap_err();
        assert!(refused.to_string().contains("read-only"), "{refused}");
        let tries = (0..6).map(|number| {
            let store = store.clone();
            async move { store.commit(Arc::from([conformance::start(&format!("r{number}"))])).await }
        });
        assert!(futures_util::future::join_all(tries).await.iter().all(Result::is_err));
    }
    owned.database.run("ALTER DATABASE {} RESET default_transaction_read_only").await;
    store.probe().await.unwrap();
    assert_eq!(store.commit(Arc::from([conformance::start("r")])).await, Ok(vec![Ok(())]));
}

#[tokio::test]
async fn readiness_waits_where_requests_wait() {
    let Some((database, store)) = fresh().await else { return };
    let mut other = PgConnection::connect(database.url()).await.unwrap();
    for table in ["runs", "records", "work", "letters"] {
        let lock = format!("BEGIN; LOCK TABLE {table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut other).await.unwrap();
        let refused = store.probe().await.unwrap_err();
        assert!(refused.to_string().contains("another session holds a lock"), "{table}: {refused}");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        store.probe().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_five_connections_everything_is_done() {
    let Some(owned) = Owned::make().await else { return };
    owned.says("ALTER ROLE {role} CONNECTION LIMIT 5").await;
    let store = owned.open().await.unwrap();
    conformance::prepare(&store).await;
    store.attend("one").await.unwrap();
    let work = (0..60).map(|number| {
        let store = store.clone();
        async move {
            let run = format!("r{number}");
            assert_eq!(store.commit(Arc::from([conformance::start(&run)])).await, Ok(vec![Ok(())]), "{run}");
            assert_eq!(store.load(&run).await.map(|loaded| loaded.snapshot.header.revision), Ok(1), "{run}");
            store.probe().await.unwrap();
        }
    });
    futures_util::future::join_all(work).await;
    assert!(owned.count("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'role_%'").await <= 5);
}

#[tokio::test]
async fn a_connection_that_leads_to_another_installation_is_not_written_to() {
    let Some((database, store)) = fresh().await else { return };
    let Some(other) = Database::make().await else { return };
    PostgresStore::open(other.url()).await.unwrap().close().await;
    // Another database gets the name, as after a wrong restore; then an empty one.
    let aside = format!("{}_aside", database.name());
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'";
    database.run(cut).await;
    database.run(&format!("ALTER DATABASE {{}} RENAME TO {aside}")).await;
    database.run(&format!("ALTER DATABASE {} RENAME TO {{}}", other.name())).await;
    let refused = store.probe().await.unwrap_err();
    assert!(refused.to_string().contains("another installation"), "{refused}");
    database.run(cut).await;
    database.run(&format!("ALTER DATABASE {{}} RENAME TO {}", other.name())).await;
    database.run("CREATE DATABASE {}").await;
    let refused = store.commit(Arc::from([conformance::start("r")])).await.unwrap_err();
    assert!(refused.to_string().contains("no installation"), "{refused}");
    database.run(cut).await;
    database.run("DROP DATABASE {}").await;
    database.run(&format!("ALTER DATABASE {aside} RENAME TO {{}}")).await;
    assert_eq!(store.commit(Arc::from([conformance::start("r")])).await, Ok(vec![Ok(())]));
}
