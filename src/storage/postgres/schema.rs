//! The tables, and that they are there and of this version.

use super::PostgresLog;
use super::connection::StatementError;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

/// Makes the tables, or brings them to this version. For administrators of roles that may not.
pub const SCHEMA_SQL: &str = include_str!("schema.sql");

/// The version of the tables that this program uses.
const VERSION: i32 = 3;

/// The tables are not as they have to be.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// There are none, or older ones, and the role may not make them.
    #[error("the role may not create the tables ({0}): run the SQL that `incoming schema` prints")]
    NotAllowed(String),
    /// They are there, and the role may not do with them what a server does.
    #[error("the role {role:?} lacks {rights}: the owner of the tables can GRANT that")]
    NoRights {
        /// The role.
        role: String,
        /// What is missing, on what.
        rights: String,
    },
    /// There are none, or older ones.
    #[error(
        "the tables are not there, or of an earlier version: start a server again, or run the SQL of `incoming schema`"
    )]
    Absent,
    /// A later version has made them.
    #[error("the tables have version {0}, this program knows {VERSION}: run a later version")]
    Later(i32),
    /// There is no answer.
    #[error("{0}")]
    Database(String),
}

/// Tables that a role is to have all rights on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Those without which there are no uploads.
    OfUploads,
    /// All.
    All,
}

impl PostgresLog {
    /// Makes sure of the tables. Several servers may do this at once.
    ///
    /// # Errors
    /// They are not as they have to be.
    pub async fn prepare(&self) -> Result<(), SchemaError> {
        self.check_rights(Tables::OfUploads).await?;
        if self.version().await? == Some(VERSION) {
            return Ok(());
        }
        match self.connections.agenda.run(SCHEMA_SQL).await {
            Ok(()) => {}
            Err(StatementError::Statement(error))
                if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) =>
            {
                // The transaction that it broke off in is not to be met by others.
                let _ = self.connections.agenda.run("ROLLBACK").await;
                let why = error.as_db_error().map_or_else(String::new, |it| it.message().into());
                return Err(SchemaError::NotAllowed(why));
            }
            Err(error) => return Err(database(&error)),
        }
        match self.version().await? {
            Some(VERSION) => Ok(()),
            Some(_) | None => Err(SchemaError::Absent),
        }
    }

    /// Whether the role may do with these tables, as far as they are there, what a server does.
    ///
    /// # Errors
    /// It may not, or there is no answer.
    pub async fn check_rights(&self, tables: Tables) -> Result<(), SchemaError> {
        let all = tables == Tables::All;
        let rows = self.connections.agenda.query(RIGHTS, &[(&all, Type::BOOL)]).await;
        let rows = rows.map_err(|error| database(&error))?;
        let Some(row) = rows.first() else { return Ok(()) };
        let text = |at| row.try_get::<_, Option<String>>(at);
        let read = text(0).and_then(|role| Ok((role, text(1)?)));
        match read.map_err(|error| SchemaError::Database(error.to_string()))? {
            (role, Some(rights)) => {
                Err(SchemaError::NoRights { role: role.unwrap_or_default(), rights })
            }
            (_, None) => Ok(()),
        }
    }

    /// Whether the tables are of this version, or of a later one: a server that runs goes on while others are upgraded.
    ///
    /// # Errors
    /// They are not, or there is no answer.
    pub async fn check_version(&self) -> Result<(), SchemaError> {
        match self.version().await {
            Ok(Some(_)) | Err(SchemaError::Later(_)) => Ok(()),
            Ok(None) => Err(SchemaError::Absent),
            Err(error) => Err(error),
        }
    }

    /// The version of the tables; `None` where there are none, or older ones.
    async fn version(&self) -> Result<Option<i32>, SchemaError> {
        let rows = self.connections.agenda.query("SELECT version FROM incoming.meta", &[]).await;
        match rows {
            Ok(rows) => match rows.first().map(|row| row.try_get(0)) {
                Some(Ok(version)) if version > VERSION => Err(SchemaError::Later(version)),
                Some(Ok(version)) => Ok(Some(version).filter(|version| *version == VERSION)),
                Some(Err(error)) => Err(SchemaError::Database(error.to_string())),
                None => Ok(None),
            },
            Err(StatementError::Statement(error))
                if matches!(
                    error.code(),
                    Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME)
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(database(&error)),
        }
    }
}

fn database(error: &StatementError) -> SchemaError {
    SchemaError::Database(super::connection::text(error))
}

/// Each statement of a server is covered. (Records go with their upload, by the rights of the tables' owner.)
const RIGHTS: &str = "SELECT current_user::text, string_agg(lack, '; ' ORDER BY lack) FROM ( \
    SELECT 'USAGE on the schema incoming' AS lack FROM pg_namespace \
    WHERE nspname = 'incoming' AND NOT has_schema_privilege(oid, 'USAGE') UNION ALL \
    SELECT string_agg(wanted, ', ' ORDER BY place) || ' on incoming.' || relname \
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace JOIN (VALUES \
    ('meta', '{SELECT,UPDATE}'::text[]), ('record', '{SELECT,INSERT}'), \
    ('upload', '{SELECT,INSERT,UPDATE,DELETE}'), ('server', '{SELECT,INSERT,UPDATE,DELETE}')) \
    AS needed (name, rights) ON name = relname, \
    unnest(rights) WITH ORDINALITY AS each (wanted, place) \
    WHERE nspname = 'incoming' AND ($1 OR name <> 'server') \
    AND NOT has_table_privilege(pg_class.oid, wanted) GROUP BY relname) AS lacks";
