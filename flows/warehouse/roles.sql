-- The roles that a database knows, as commands of psql that make those that are missing, with their
-- passwords' verifiers, settings and memberships: what pg_dump leaves out. Not the superuser, of whom
-- each server has one of its own. flows/warehouse/backup.py runs it, and a restore what it returns, with
-- the variable `database`.
with roles as (
    select pg_authid.*, shobj_description(oid, 'pg_authid') as about
    from pg_authid
    where
        not rolsuper and rolname !~ '^pg_'
        and (
            shobj_description(oid, 'pg_authid') like 'nyc-taxi-elt: %'
            or oid in (
                select refobjid from pg_shdepend
                where
                    refclassid = 'pg_authid'::regclass
                    and dbid = (select oid from pg_database where datname = current_database())
            )
        )
),

commands as (
    select 1 as place, rolname as name, 0 as number, concat_ws(E'\n',
        format('select not exists (select from pg_roles where rolname = %L) as is_new \gset', rolname),
        '\if :is_new',
        format(
            'create role %I with %s %s %s %s connection limit %s password %s%s;', rolname,
            case when rolcanlogin then 'login' else 'nologin' end,
            case when rolinherit then 'inherit' else 'noinherit' end,
            case when rolcreaterole then 'createrole' else 'nocreaterole' end,
            case when rolcreatedb then 'createdb' else 'nocreatedb' end,
            rolconnlimit, coalesce(quote_literal(rolpassword), 'null'),
            ' valid until ' || quote_literal(rolvaliduntil)
        ),
        format('comment on role %I is %L;', rolname, about),
        '\endif'
    ) as command
    from roles
    union all
    select 2, member.rolname, 0, format(
        'grant %I to %I with admin %s, inherit %s, set %s;', granted.rolname, member.rolname,
        admin_option::text, inherit_option::text, set_option::text
    )
    from pg_auth_members
    inner join roles as member on member = member.oid
    inner join pg_roles as granted on roleid = granted.oid
    where granted.oid in (select oid from roles) or granted.rolname ~ '^pg_'
    union all
    select 3, coalesce(rolname, ''), number, format(
        'alter %s%s set %I to %s;',
        coalesce(format('role %I', rolname), 'database :"database"'),
        case when rolname is not null and setdatabase <> 0 then ' in database :"database"' end,
        split_part(setting, '=', 1),
        case
            -- A list of names is kept as it is to be written.
            when split_part(setting, '=', 1) in (
                'search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries'
            ) then coalesce(nullif(substr(setting, position('=' in setting) + 1), ''), '''''')
            else quote_literal(substr(setting, position('=' in setting) + 1))
        end
    )
    from pg_db_role_setting
    left join roles on setrole = roles.oid
    cross join unnest(setconfig) with ordinality as settings (setting, number)
    where
        (setrole = 0 or roles.oid is not null)
        and (
            setdatabase = (select oid from pg_database where datname = current_database())
            or setdatabase = 0 and setrole <> 0
        )
)

select command from commands order by place, name, number
