-- A role, a database that it owns, and nothing more for anyone: what a superuser makes once in a
-- PostgreSQL that is this project's own. flows/warehouse/local_server.py and docker-compose.yml run it.
--
--     ROLE=root PASSWORD=… DATABASE=ny_taxi psql --file flows/warehouse/database.sql
--
-- It can be run again: it makes what is missing, and sets the password.
\set ON_ERROR_STOP on
\getenv role ROLE
\getenv password PASSWORD
\getenv database DATABASE
-- No password is to be in the server's log.
set log_statement = 'none';
set log_min_error_statement = 'panic';
set log_min_duration_statement = -1;

select format('create role %I', :'role')
where not exists (select from pg_roles where rolname = :'role') \gexec
alter role :"role" login password :'password';
-- The server limits temporary files for everyone; the builds of this role sort whole years.
alter role :"role" set temp_file_limit = -1;
-- A swap of a month waits for older snapshots, and sees which sessions have one.
grant pg_read_all_stats to :"role";
-- Below, dbt's grants, and flows/warehouse/roles.py: who reads is a member of this role.
select 'create role analyst nologin'
where not exists (select from pg_roles where rolname = 'analyst') \gexec
comment on role analyst is 'nyc-taxi-elt: reads the marts';

select format('create database %I owner %I', :'database', :'role')
where not exists (select from pg_database where datname = :'database') \gexec
revoke connect, temporary on database postgres, template1 from public;
revoke connect, temporary on database :"database" from public;
grant connect on database :"database" to analyst;

\connect :"database"
-- Any role may call these: write large objects until the disk is full, or hold an advisory lock
-- that others wait for. Here only the database's owner may.
do $$
declare
    function regprocedure;
begin
    for function in
        select oid
        from pg_proc
        where
            pronamespace = 'pg_catalog'::regnamespace
            and proname ~ '^(pg_(try_)?advisory_|lo_creat|lo_create$|lo_from_bytea$)'
    loop
        execute format('revoke execute on function %s from public', function);
        execute format('grant execute on function %s to pg_database_owner', function);
    end loop;
end $$;
