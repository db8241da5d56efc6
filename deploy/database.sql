-- The role and the database of the service. The PostgreSQL image runs this once, for a new database.
-- If the file is missing, the role has no password and connects through the socket of this machine.
\set password `cat /run/secrets/database_password`
CREATE ROLE connections LOGIN PASSWORD :'password';
-- For every connection, PgBouncer's included. Shorter than the 15 seconds that Nginx waits for a
-- response, so that the caller gets a 503. For long statements, connect without PgBouncer and set
-- PGOPTIONS='-c statement_timeout=0'.
ALTER ROLE connections SET statement_timeout = '10s';
ALTER ROLE connections SET idle_in_transaction_session_timeout = '60s';
CREATE DATABASE connections OWNER connections;
