-- The service's own role and database. The PostgreSQL image reads it once, when the database is new.
-- Without the file, the role gets no password, and comes over the socket of this machine.
\set password `cat /run/secrets/database_password`
CREATE ROLE connections LOGIN PASSWORD :'password';
-- On every connection, also of PgBouncer's. A statement that outlasts this belongs to a caller whom
-- Nginx has answered long ago. Long work of yours goes past PgBouncer, with
-- PGOPTIONS='-c statement_timeout=0'.
ALTER ROLE connections SET statement_timeout = '10s';
ALTER ROLE connections SET idle_in_transaction_session_timeout = '60s';
CREATE DATABASE connections OWNER connections;
