-- The functions that the loader and dbt's models share: locks, the swap of a month, views and tables
-- replaced in place. flows/warehouse/schema.py runs this file whenever it has changed, after the
-- migrations, which make the tables; a function that goes is dropped by a migration.
--
-- A relation or function whose comment ends with `(nyc-taxi-elt)` is this project's. Nothing else is touched.

create or replace function raw.is_ours(relation regclass) returns boolean
language sql stable as $$
    select coalesce(obj_description(relation, 'pg_class') like '%(nyc-taxi-elt)', false)
$$;

-- Whether a relation has a row of a month; of one dataset, where it has rows of several. A query for each
-- month: Citus does not join a distributed table to a local one for each row of that.
create or replace function raw.has_rows(relation regclass, month date, dataset text default null)
returns boolean
language plpgsql stable as $$
declare
    is_there boolean;
begin
    if relation is not null then
        execute format(
            'select true from %s where source_month = %L%s limit 1', relation, month,
            ' and dataset = ' || quote_literal(dataset)
        ) into is_there;
    end if;
    return is_there is not null;
end
$$;

-- The months that a table was built with and has no row of any more: somebody has dropped a partition,
-- or emptied the table. One row of each is looked up.
create or replace function raw.lost_months(built_months regclass, relation text)
returns table (dataset text, source_month date)
language plpgsql stable as $$
declare
    target regclass := to_regclass(relation);
    has_datasets boolean := exists (
        select from pg_attribute where attrelid = target and attname = 'dataset' and not attisdropped
    );
begin
    return query execute format(
        $query$
        select dataset, source_month
        from %s
        where relation = %L and has_rows and not raw.has_rows(%L, source_month, %s)
        $query$,
        built_months, relation, target, case when has_datasets then 'dataset' else 'null' end
    );
end
$$;

-- Let one transaction at a time do what has this name; the second one waits for the first, and for
-- what it has committed to be so on all servers.
create or replace function raw.take_turns(what text) returns void
language plpgsql as $$
begin
    insert into raw.locks (name) values (what) on conflict do nothing;
    perform from raw.locks where name = what for update;
    perform raw.wait_for_commits();
end
$$;

-- The same for a session, over as many transactions as it has: until it ends, or gives the turn up.
-- Only an advisory lock outlives a transaction. Returns false if another session has the turn and
-- this one is not to wait.
create or replace function raw.keep_turn(what text, waits boolean default true) returns boolean
language plpgsql as $$
begin
    if waits then
        perform pg_advisory_lock('raw.locks'::regclass::oid::int, hashtext(what));
    elsif not pg_try_advisory_lock('raw.locks'::regclass::oid::int, hashtext(what)) then
        return false;
    end if;
    perform raw.wait_for_commits();
    return true;
end
$$;

create or replace function raw.give_up_turn(what text) returns boolean
language sql as $$
    select pg_advisory_unlock('raw.locks'::regclass::oid::int, hashtext(what))
$$;

-- Sessions in words; null where there are none but this one.
create or replace function raw.sessions_in_words(pids int[]) returns text
language sql as $$
    select string_agg(format(
        'process %s (%s, %s%s)', pid, coalesce(usename, backend_type), coalesce(nullif(application_name, ''), 'no name'),
        -- Not shown of other roles' sessions without pg_read_all_stats.
        ', since ' || to_char(xact_start, 'HH24:MI:SS')
    ), ', ' order by pid)
    from pg_stat_activity
    where pid = any(pids) and pid <> pg_backend_pid()
$$;

-- Who has a turn that others wait for, in words.
create or replace function raw.whose_turn() returns text
language sql as $$
    select raw.sessions_in_words(array_agg(distinct pid))
    from pg_locks
    where
        granted
        and database = (select oid from pg_database where datname = current_database())
        and relation = 'raw.locks'::regclass
        and pid not in (select pid from pg_locks where not granted)
$$;

-- The sessions that hold a lock on one of these tables, in words; null where nobody does.
create or replace function raw.holders_of(tables regclass[]) returns text
language sql as $$
    select raw.sessions_in_words(array_agg(pid))
    from pg_locks
    where
        granted
        and database = (select oid from pg_database where datname = current_database())
        and relation = any(tables)
$$;

-- One of the limits of waiting. They can be set, for a session (PGOPTIONS='-c
-- nyc_taxi.lock_patience=10min' in .env) or, by a superuser, for a database.
create or replace function raw.limit_of_waiting(name text, standard interval) returns interval
language sql stable as $$
    select coalesce(nullif(current_setting('nyc_taxi.lock_' || name, true), '')::interval, standard)
$$;

-- Execute statements that lock tables, in the order given, so that readers never queue for long
-- behind a lock that another session holds: a try of a second for all of them, a pause in which none
-- is held, and another try. Raises lock_not_available, with the holders' names.
create or replace function raw.execute_patiently(statements text[], tables regclass[])
returns void
language plpgsql as $$
declare
    -- More than PostgreSQL's deadlock_timeout, after which it ends an autovacuum that is in the way.
    attempt interval := raw.limit_of_waiting('attempt', '1200ms');
    pause interval := raw.limit_of_waiting('pause', '2s');
    limit_before text := current_setting('lock_timeout');
    gives_up_at timestamptz := clock_timestamp() + raw.limit_of_waiting('patience', '90s');
    attempt_ends_at timestamptz;
    statement text;
begin
    loop
        begin
            attempt_ends_at := clock_timestamp() + attempt;
            foreach statement in array statements loop
                perform set_config('lock_timeout', greatest(
                    1, round(extract(epoch from attempt_ends_at - clock_timestamp()) * 1000)
                ) || 'ms', true);
                execute statement;
            end loop;
            perform set_config('lock_timeout', limit_before, true);
            return;
        exception when lock_not_available or deadlock_detected then
            if clock_timestamp() > gives_up_at then
                perform pg_stat_clear_snapshot();  -- else it shows what this transaction has seen before
                raise lock_not_available using message = format(
                    '%s is locked by %s. End that session''s transaction, or run again later',
                    tables[1], coalesce(raw.holders_of(tables), 'a session that has just ended')
                );
            end if;
        end;
        perform pg_sleep_for(pause);
    end loop;
end
$$;

create or replace function raw.statements_to_lock(tables regclass[], mode text) returns text[]
language sql stable as $$
    select array(
        select format('lock table only %s in %s mode', name, mode)
        from unnest(tables) with ordinality as each (name, place)
        order by place
    )
$$;

create or replace function raw.lock_patiently(tables regclass[], mode text) returns void
language sql as $$
    select raw.execute_patiently(raw.statements_to_lock(tables, mode), tables)
$$;

-- The percentage of a table's pages that is sample enough of its rows: 100 pages, if it has more. A
-- page has some 50 rows.
create or replace function raw.sample_percent(target regclass) returns real
language sql as $$
    select least(
        100, 100 * 100.0 * current_setting('block_size')::int / greatest(1, pg_relation_size(target))
    )::real
$$;

-- The other sessions in this database that hold a snapshot. Without pg_read_all_stats, other roles'
-- snapshots are hidden: then each transaction of theirs counts. This project's own sessions, which
-- take turns, don't count: they are READ COMMITTED, and lock what they read before they take a
-- snapshot.
create or replace function raw.snapshots() returns table (pid int, virtualxid text)
language sql as $$
    select activity.pid, transactions.virtualxid
    from pg_locks as transactions
    inner join pg_stat_activity as activity on transactions.pid = activity.pid
    cross join (select oid from pg_database where datname = current_database()) as here
    where
        transactions.locktype = 'virtualxid'
        and transactions.granted
        and activity.datid = here.oid
        and activity.usesysid is not null  -- null for PostgreSQL's own processes
        and activity.pid <> pg_backend_pid()
        and (activity.backend_xmin is not null or activity.state is null)  -- null where it is hidden
        and activity.pid not in (select vacuum.pid from pg_stat_progress_vacuum as vacuum)
        and activity.pid not in (
            select locks.pid
            from pg_locks as locks
            where
                locks.database = here.oid
                and (
                    locks.relation = 'raw.locks'::regclass
                    and locks.mode in ('RowShareLock', 'RowExclusiveLock')
                    or locks.locktype = 'advisory'
                    and locks.classid = 'raw.locks'::regclass and locks.objsubid = 2
                )
        )
$$;

-- Wait until no session has a snapshot any more that is older than this call, as PostgreSQL's own
-- `create index concurrently` does. Which tables there are is not read by a snapshot, and which rows
-- are in them is: to an older REPEATABLE READ transaction, or to a `copy (select ...)` that waits for
-- a lock, a partition that is new has none. Raises lock_not_available, with the sessions' names.
create or replace function raw.wait_for_older_snapshots(target regclass) returns void
language plpgsql as $$
declare
    gives_up_at timestamptz := clock_timestamp() + raw.limit_of_waiting('patience', '90s');
    older text[];  -- the transactions that had a snapshot when this began, and at each look since
    pids int[];
begin
    loop
        perform pg_stat_clear_snapshot();
        select array_agg(virtualxid), array_agg(pid) into older, pids
        from raw.snapshots()
        where older is null or virtualxid = any(older);
        if older is null then
            return;
        elsif clock_timestamp() > gives_up_at then
            raise lock_not_available using message = format(
                '%s waits for the transaction of %s, which may still read it as it was. '
                'End that session''s transaction, or run again later',
                target, raw.sessions_in_words(pids)
            );
        end if;
        perform pg_sleep(0.1);
    end loop;
end
$$;

-- Let a table without a key have its rows deleted in a database with a publication FOR ALL TABLES,
-- which has to tell a subscriber which rows they were: by all their values.
create or replace function raw.identify_rows(target regclass) returns void
language plpgsql as $$
begin
    if
        (select relreplident = 'd' from pg_class where oid = target)
        and not exists (select from pg_index where indrelid = target and indisprimary)
    then
        perform raw.execute_patiently(
            array[format('alter table %s replica identity full', target)], array[target]
        );
    end if;
end
$$;
select raw.identify_rows('raw.malformed_lines');

-- Whether Citus spreads this database over several servers.
create or replace function raw.is_on_several_servers() returns boolean
language sql stable as $$
    select exists (select from pg_extension where extname = 'citus')
$$;

-- There, wait until the other servers have committed all that they have prepared. One that dies between
-- the two lacks its part of what this one has committed, until Citus tells it (within
-- citus.recover_2pc_interval). Raises lock_not_available, or that a server can't be reached.
create or replace function raw.wait_for_commits() returns void
language plpgsql as $$
declare
    began_at timestamptz := clock_timestamp();
    prepared text[];  -- then, and still: others come and go meanwhile
    found text[];
    away text;
    server record;
begin
    if not raw.is_on_several_servers() then
        return;
    end if;
    loop
        found := '{}';
        away := null;
        for server in
            select
                format('%s:%s', nodename, nodeport) as address,
                success,
                result
            from run_command_on_workers($query$
                select coalesce(array_agg(gid::text), '{}')
                from pg_prepared_xacts where database = current_database()
            $query$)
        loop
            if server.success then
                found := found || array(
                    select format('%s: %s', server.address, gid) from unnest(server.result::text[]) as gid
                );
            else
                away := server.address;
            end if;
        end loop;
        if away is not null then
            -- As long as flows/warehouse/connection.py waits for this one.
            if clock_timestamp() > began_at + interval '20s' then
                raise connection_failure using message = format('connection to the remote node %s failed', away);
            end if;
        else
            prepared := array(select unnest(found) intersect select unnest(coalesce(prepared, found)));
            if prepared = '{}' then
                return;
            elsif clock_timestamp() > began_at + raw.limit_of_waiting('patience', '90s') then
                raise lock_not_available using message = format(
                    'a transaction is prepared and not yet committed on %s. Citus does that within '
                    'citus.recover_2pc_interval: run again later', prepared[1]
                );
            end if;
        end if;
        perform pg_sleep(0.1);
    end loop;
end
$$;

-- Whether it has still to be told where a table of this one is to be. Not one condition: where there is
-- no Citus, its table can't be named.
create or replace function raw.is_to_be_placed(target regclass) returns boolean
language plpgsql stable as $$
begin
    if raw.is_on_several_servers() then
        return not exists (select from pg_dist_partition where logicalrelid = target);
    end if;
    return false;
end
$$;

-- There, spread a table's rows by their number in the file, each beside the row of that number in the
-- other tables. Elsewhere, and where they are spread already, nothing is done.
create or replace function raw.spread(target regclass) returns void
language plpgsql as $$
begin
    if not raw.is_to_be_placed(target) then
        return;
    end if;
    set local client_min_messages = warning;
    perform create_distributed_table(target, 'source_row', colocate_with => coalesce(
        (
            select min(logicalrelid::text) from pg_dist_partition
            where logicalrelid::text like 'raw.%' and partmethod = 'h'
        ), 'none'
    ));
    -- What was filled here before it was spread: it is on the other servers now.
    perform truncate_local_data_after_distributing_table(target);
end
$$;

-- There, where each server commits its part at another moment, have nobody read a table until the end of
-- this transaction, which replaces rows.
create or replace function raw.keep_readers_out(target regclass) returns void
language plpgsql as $$
begin
    if raw.is_on_several_servers() then
        perform raw.lock_patiently(array[target], 'access exclusive');
    end if;
end
$$;

-- There, keep a copy of a small table on each server, to be joined to what is spread.
create or replace function raw.keep_everywhere(target regclass) returns void
language plpgsql as $$
begin
    if raw.is_to_be_placed(target) then
        perform create_reference_table(target);
    end if;
end
$$;

-- The bytes that a table takes, on all servers.
create or replace function raw.size_of(target regclass) returns bigint
language plpgsql as $$
begin
    if raw.is_on_several_servers() then
        return citus_total_relation_size(target);
    end if;
    return pg_total_relation_size(target);
end
$$;

-- What a month's partition of a table is called; it is in the schema of the table that fills it.
create or replace function raw.partition_name(parent regclass, month date) returns text
language sql stable as $$
    select format('%s_%s', relname, to_char(month, 'YYYY_MM')) from pg_class where oid = parent
$$;

-- A month's partition; null where there is none.
create or replace function raw.partition_of(parent regclass, month date) returns regclass
language sql stable as $$
    select inhrelid::regclass
    from pg_inherits inner join pg_class on inhrelid = pg_class.oid
    where inhparent = parent and relname = raw.partition_name(parent, month)
$$;

-- The actions of `alter table` that add to a table the columns that only another one has; null where
-- there are none. `if not exists`, because another load may have added some of them meanwhile.
create or replace function raw.columns_to_add(target regclass, other regclass) returns text
language sql stable as $$
    select string_agg(
        format('add column if not exists %I %s', attname, format_type(atttypid, atttypmod)), ', '
        order by attnum
    )
    from pg_attribute
    where
        attrelid = other and attnum > 0 and not attisdropped
        and attname not in (
            select attname from pg_attribute
            where attrelid = target and attnum > 0 and not attisdropped
        )
$$;

-- Whether the staging models are to cast values as they are, in this transaction. Called immutable,
-- so that PostgreSQL plans one part of them alone: a plan is not to be kept beyond the transaction.
create or replace function raw.values_are_plain() returns boolean language sql immutable parallel safe as $$
    select coalesce(current_setting('nyc_taxi_elt.values_are_plain', true), '') = 'yes'
$$;

-- Fill a new table with a month's trips: by casts alone, where the loader has seen that the month is
-- written plainly, or with a look at each value (dbt_project/macros/typed_rows.sql). So too where a
-- cast fails: `why_not_cast` says why, and the month is remembered as one that is not plain.
create or replace function raw.fill_month(
    fresh text, load bigint, rows text, out trip_count bigint, out why_not_cast text
)
language plpgsql as $$
begin
    if (select is_plain from raw.loads where load_id = load) then
        begin
            set local nyc_taxi_elt.values_are_plain = 'yes';
            execute format('create table %s as %s', fresh, rows);
            get diagnostics trip_count = row_count;
            set local nyc_taxi_elt.values_are_plain = '';
            return;
        exception when data_exception then
            why_not_cast := sqlerrm;
        end;
        begin
            update raw.loads set is_plain = false where load_id = load;
        exception when insufficient_privilege then
            null; -- in the target dev of somebody who only reads the raw schema
        end;
    end if;
    execute format('create table %s as %s', fresh, rows);
    get diagnostics trip_count = row_count;
end
$$;

-- Take the statistics of a table's months that have none, and then of the table: PostgreSQL takes
-- none of a partitioned table by itself, and those of a new month some time later. Before 18 it can't
-- look at the table without reading each of its months again, so there it does not.
create or replace function raw.take_statistics(parent regclass) returns void language plpgsql as $$
declare
    month regclass;
    is_new boolean := false;
begin
    for month in
        select inhrelid from pg_inherits
        where
            inhparent = parent
            and not raw.is_on_several_servers()  -- each has statistics of its own parts
            and pg_stat_get_last_analyze_time(inhrelid) is null
            and pg_stat_get_last_autoanalyze_time(inhrelid) is null
    loop
        execute format('analyze (skip_locked) %s', month);
        is_new := true;
    end loop;
    if is_new and current_setting('server_version_num')::int >= 180000 then
        execute format('analyze (skip_locked) only %s', parent);
    end if;
end
$$;

-- Give a filled table what its parent promises of each row: not null, checks, keys, indexes, and
-- that all rows are of the month. PostgreSQL checks it here, before the swap locks anything. Indexes
-- and statistics targets that people have added to the parent are among it.
create or replace function raw.constrain_month(parent regclass, month date, fresh regclass) returns void
language plpgsql as $$
declare
    actions text := raw.columns_to_add(fresh, parent);
    statement text;
begin
    if actions is not null then
        execute format('alter table %s %s', fresh, actions);
    end if;
    select string_agg(action, ', ' order by rank, action) into actions
    from (
        select 1 as rank, format('alter %I set not null', attname) as action
        from pg_attribute
        where attrelid = parent and attnum > 0 and not attisdropped and attnotnull
        union all
        -- A key's index gets a name of its own: it can't be called as those of the other months.
        select 2, concat(
            'add ', case contype when 'c' then format('constraint %I ', conname) end,
            pg_get_constraintdef(oid)
        )
        from pg_constraint
        where conrelid = parent and contype in ('c', 'p', 'u', 'x')
        union all
        select 3, format('add constraint is_of_month check (source_month = %L::date)', month)
        where not exists (select from pg_constraint where conrelid = fresh and conname = 'is_of_month')
        union all
        select 4, format('alter %I set statistics %s', attname, attstattarget)
        from pg_attribute
        where attrelid = parent and attnum > 0 and not attisdropped and attstattarget >= 0
    ) as needed;
    execute format('alter table %s %s', fresh, actions);
    for statement in
        -- All but the index's name, which may be any, and the parent's.
        select format(
            'create %sindex on %s using %s', case when indisunique then 'unique ' end, fresh,
            regexp_replace(
                substr(pg_get_indexdef(indexrelid), length(format(
                    'CREATE %sINDEX %I', case when indisunique then 'UNIQUE ' end, relname
                )) + 1), '^.*? USING ', ''
            )
        )
        from pg_index inner join pg_class on indexrelid = pg_class.oid
        where
            indrelid = parent
            and not exists (select from pg_constraint where conindid = indexrelid)
    loop
        execute statement;
    end loop;
end
$$;

-- Mark a table that is filled and committed apart, before it is swapped in: who makes it keeps this
-- turn until the swap, and what a session that was killed has left is known by that.
create or replace function raw.mark_as_apart(fresh regclass, turn text) returns void
language plpgsql as $$
begin
    execute format(
        'comment on table %s is %L', fresh, format('Not yet a month: filled in the turn %s (nyc-taxi-elt)', turn)
    );
end
$$;

-- Drop the tables apart that killed sessions have left, and this session's own. One that somebody
-- reads is left to the next run.
create or replace function raw.drop_leftovers() returns void
language plpgsql as $$
declare
    leftover regclass;
    turn text;
begin
    for leftover, turn in
        select pg_class.oid::regclass, substring(description from ' turn (.+) \(nyc-taxi-elt\)$')
        from pg_description
        inner join pg_class on objoid = pg_class.oid
        where
            classoid = 'pg_class'::regclass and objsubid = 0
            and description like 'Not yet a month: %(nyc-taxi-elt)'
            and relkind = 'r' and not relispartition
    loop
        if raw.keep_turn(turn, waits => false) then
            begin
                execute format('lock table %s in access exclusive mode nowait', leftover);
                execute format('drop table %s', leftover);
            exception when lock_not_available or undefined_table or insufficient_privilege then
                raise notice '% is left to the next run', leftover;
            end;
            perform raw.give_up_turn(turn);
        end if;
    end loop;
end
$$;

-- Raise if a view reads a month's partition, which is dropped with each load of the month.
create or replace function raw.refuse_readers_of_a_month(parent regclass, part regclass) returns void
language plpgsql as $$
begin
    if raw.dependents_of(part) is not null then
        raise dependent_objects_still_exist using message = format(
            '%s reads %s, which is one month''s part of %s. Drop it, or build it on %s',
            raw.dependents_of(part), part, parent, parent
        );
    end if;
end
$$;

-- Wait until a month can be replaced, before hours of work go into the new one: until its partition
-- can be locked, and no snapshot is older. Nothing stays locked. Raises what raw.swap_month() would.
-- To be asked by a transaction that has not read the table before: two that have would wait for each
-- other, each for the lock of the other one's look.
create or replace function raw.ask_for_month(parent regclass, month date) returns void
language plpgsql as $$
declare
    old regclass := raw.partition_of(parent, month);
begin
    if old is null then
        return;
    end if;
    perform raw.refuse_readers_of_a_month(parent, old);
    begin
        perform raw.lock_patiently(array[parent, old], 'access exclusive');
        raise sqlstate 'NYC01';  -- so that what it has locked is free again
    exception when sqlstate 'NYC01' then
        null;
    end;
    perform raw.wait_for_older_snapshots(parent);
end
$$;

-- Whom a swap of a month would wait for, in words, but for what began within the last second; null
-- where for nobody.
create or replace function raw.in_the_way_of(parent regclass, month date) returns text
language sql as $$
    select raw.sessions_in_words(array_agg(activity.pid))
    from pg_stat_activity as activity
    where
        raw.partition_of(parent, month) is not null
        and (activity.xact_start < clock_timestamp() - interval '1 second') is not false
        and activity.pid in (
            select pid from pg_locks
            where
                granted
                and database = (select oid from pg_database where datname = current_database())
                and relation in (parent, raw.partition_of(parent, month))
            union
            select pid from raw.snapshots()
        )
$$;

-- Give a table another name, and likewise its indexes and constraints that are named after it: people
-- read them in psql's \d. A name that is taken is left as it was.
create or replace function raw.rename(target regclass, name text) returns void
language plpgsql as $$
declare
    former text := (select relname from pg_class where oid = target);
    home regnamespace := (select relnamespace from pg_class where oid = target);
    own record;
begin
    execute format('alter table %s rename to %I', target, name);
    for own in
        select
            indexrelid::regclass as index,
            null as constraint,
            raw.name_after(name, substr(relname, length(former) + 1)) as name
        from pg_index inner join pg_class on indexrelid = pg_class.oid
        where indrelid = target and starts_with(relname, former)
        union all
        select null, conname, raw.name_after(name, substr(conname, length(former) + 1))
        from pg_constraint
        where
            conrelid = target and contype = 'n' and starts_with(conname, former)
            and not raw.is_on_several_servers()  -- Citus renames no constraint
    loop
        if own.constraint is not null then
            execute format('alter table %s rename constraint %I to %I', target, own.constraint, own.name);
        elsif to_regclass(format('%I.%I', home, own.name)) is null then
            execute format('alter index %s rename to %I', own.index, own.name);
        end if;
    end loop;
end
$$;

-- The name of a table's index or constraint, which ends with what it is of, in no more bytes than
-- PostgreSQL keeps of a name.
create or replace function raw.name_after(name text, ending text) returns text
language sql immutable as $$ select left(name, 63 - length(ending)) || ending $$;

-- Put a filled table in the place of a month's partition, in the caller's transaction: readers see
-- the month as it was until that commits. `fresh` may be null: then the month goes. To have no
-- reader find the month empty, whatever its snapshot, `fresh` has to be committed before.
-- Columns that only the new table has are added to the parent, as the text that they are.
create or replace function raw.swap_month(parent regclass, month date, fresh regclass) returns void
language plpgsql as $$
declare
    name text := raw.partition_name(parent, month);
    old regclass := raw.partition_of(parent, month);
    existing regclass;
    added text;
    locks text[];
begin
    if extract(day from month) <> 1 then
        raise check_violation using message = format('%s is not the first day of a month', month);
    end if;

    existing := to_regclass(format(
        '%s.%I', (select relnamespace::regnamespace from pg_class where oid = fresh), name
    ));
    if existing is distinct from old and existing is not null then
        raise duplicate_table using message = format(
            '%s is there already, and is not a partition of %s. Rename it, or use another database',
            existing, parent
        );
    end if;

    perform raw.refuse_readers_of_a_month(parent, old);
    added := raw.columns_to_add(parent, fresh);

    -- Readers need not wait for a month that only comes in addition, nor need it wait for them: but on
    -- several servers, each of which has its part of the month at another moment. The new table is
    -- locked as well, which pg_dump may be reading.
    if old is null and added is null and not raw.is_on_several_servers() then
        locks := raw.statements_to_lock(array[parent], 'share update exclusive');
    else
        perform raw.wait_for_older_snapshots(parent);
        locks := raw.statements_to_lock(array_remove(array[parent, old], null), 'access exclusive');
    end if;
    if fresh is not null then
        locks := locks || raw.statements_to_lock(array[fresh], 'access exclusive');
    end if;
    perform raw.execute_patiently(locks, array_remove(array[parent, old, fresh], null));
    if old is not null then
        execute format('drop table %s', old);
    end if;
    if fresh is null then
        return;
    end if;

    if added is not null then
        execute format('alter table %s %s', parent, added);
    end if;
    added := raw.columns_to_add(fresh, parent);
    if added is not null then
        execute format('alter table %s %s', fresh, added);
    end if;
    perform raw.rename(fresh, name);
    execute format('alter table %s attach partition %s for values in (%L)', parent, fresh, month);
    execute format('alter table %s drop constraint is_of_month', fresh);
    execute format('comment on table %s is null', fresh);
end
$$;

-- The views and materialized views that read a table, or these columns of it, in words.
create or replace function raw.dependents_of(
    relation regclass, columns smallint[] default null, but_for regclass[] default '{}'
) returns text
language sql stable as $$
    select string_agg(distinct format(
        '%s %s', case reader.relkind when 'm' then 'materialized view' else 'view' end,
        reader.oid::regclass
    ), ', ')
    from pg_depend as dependency
    inner join pg_rewrite as rule
        on dependency.objid = rule.oid and dependency.classid = 'pg_rewrite'::regclass
    inner join pg_class as reader on rule.ev_class = reader.oid
    where
        dependency.refclassid = 'pg_class'::regclass
        and dependency.refobjid = relation
        and reader.oid <> relation
        and reader.oid <> all(but_for)
        and (columns is null or dependency.refobjsubid = any(columns))
$$;

-- Drop this project's views that read a relation, or these columns of it, and those that read these
-- views; returns them, for raw.put_back_views(). Somebody else's view on one of them is in the way.
-- The statements are executed in the same attempt, after that: so everything is locked in the order
-- in which a reader of the views locks it, and neither ends in a deadlock.
create or replace function raw.take_own_views(
    relation regclass, columns smallint[] default null, statements text[] default '{}'
) returns jsonb
language plpgsql as $$
declare
    readers regclass[];
    others text;
    own record;
    taken jsonb := '[]';
begin
    with recursive found as (
        select relation as reader, 0 as depth
        union
        select rule.ev_class::regclass, found.depth + 1
        from found
        inner join pg_depend as dependency
            on dependency.refclassid = 'pg_class'::regclass and dependency.refobjid = found.reader
        inner join pg_rewrite as rule
            on dependency.objid = rule.oid and dependency.classid = 'pg_rewrite'::regclass
        inner join pg_class on rule.ev_class = pg_class.oid and pg_class.relkind = 'v'
        where
            rule.ev_class <> found.reader
            and raw.is_ours(rule.ev_class)
            and (found.depth > 0 or columns is null or dependency.refobjsubid = any(columns))
    )
    select coalesce(array_agg(reader order by depth desc), '{}') into readers
    from (
        select reader, max(depth) as depth from found where depth > 0 group by reader
    ) as deepest;

    others := raw.dependents_of(relation, columns, but_for => readers);
    if others is not null then
        raise dependent_objects_still_exist using message = format(
            '%s gets other columns, and %s reads %s. Drop it, build, and create it again',
            relation, others, case when columns is null then 'it' else 'those that go' end
        );
    end if;
    for own in
        select
            pg_class.oid::regclass as reader,
            coalesce(' with (' || array_to_string(pg_class.reloptions, ', ') || ')', '') as options,
            (
                select jsonb_agg(format(
                    'grant %s on %s to %s%s', acl.privilege_type, pg_class.oid::regclass,
                    case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end,
                    case when acl.is_grantable then ' with grant option' else '' end
                ))
                from aclexplode(pg_class.relacl) as acl
                where acl.grantee <> pg_class.relowner
            ) as grants,
            (
                select jsonb_agg(format(
                    'comment on column %s.%I is %L', pg_class.oid::regclass, attname,
                    col_description(attrelid, attnum)
                ))
                from pg_attribute
                where
                    attrelid = pg_class.oid and attnum > 0
                    and col_description(attrelid, attnum) is not null
            ) as column_comments
        from unnest(readers) with ordinality as found (reader, place)
        inner join pg_class on found.reader = pg_class.oid
        order by found.place
    loop
        others := raw.dependents_of(own.reader, but_for => readers);
        if others is not null then
            raise dependent_objects_still_exist using message = format(
                '%s has to be made again, and %s reads it. Drop it, build, and create it again',
                own.reader, others
            );
        end if;
        taken := jsonb_build_object(
            'name', own.reader::text,
            'statements', jsonb_build_array(
                format('create view %s%s as %s', own.reader, own.options, pg_get_viewdef(own.reader)),
                format('comment on view %s is %L', own.reader, obj_description(own.reader, 'pg_class'))
            ) || coalesce(own.grants, '[]') || coalesce(own.column_comments, '[]')
        ) || taken;
    end loop;
    perform raw.execute_patiently(
        array(
            select format('drop view %s', reader)
            from unnest(readers) with ordinality as found (reader, place)
            order by place
        ) || statements,
        relation || readers
    );
    return taken;
end
$$;

-- Make views again that raw.take_own_views() has dropped, with their rights and comments. One that
-- does not fit any more is left to its model, which is built later.
create or replace function raw.put_back_views(taken jsonb) returns void
language plpgsql as $$
declare
    own record;
    statement text;
begin
    for own in select * from jsonb_to_recordset(taken) as t (name text, statements jsonb) loop
        begin
            for statement in select jsonb_array_elements_text(own.statements) loop
                execute statement;
            end loop;
        exception when undefined_column or undefined_function or datatype_mismatch or undefined_table then
            raise notice '% is left to its model', own.name;
        end;
    end loop;
end
$$;

-- Give a table the columns and constraints of another one, in place: what reads it stays. All of its
-- months go. A column that goes, or changes its type, must not be read by somebody else's view.
create or replace function raw.reshape(target regclass, shape regclass) returns void
language plpgsql as $$
declare
    months regclass[] := array(select inhrelid from pg_inherits where inhparent = target);
    part regclass;
    going smallint[] := array(
        select mine.attnum
        from pg_attribute as mine
        where
            mine.attrelid = target and mine.attnum > 0 and not mine.attisdropped
            and not exists (
                select from pg_attribute as wanted
                where
                    wanted.attrelid = shape and wanted.attname = mine.attname
                    and wanted.attnum > 0 and not wanted.attisdropped
                    and (wanted.atttypid, wanted.atttypmod) = (mine.atttypid, mine.atttypmod)
            )
    );
    own_views jsonb;
    actions text;
begin
    if months <> '{}' then
        perform raw.wait_for_older_snapshots(target);
    end if;
    own_views := raw.take_own_views(
        target, going, raw.statements_to_lock(target || months, 'access exclusive')
    );
    foreach part in array months loop
        perform raw.refuse_readers_of_a_month(target, part);
        execute format('drop table %s', part);
    end loop;
    select string_agg(action, ', ' order by rank, number) into actions
    from (
        select 1 as rank, 0 as number, format('drop constraint %I', mine.conname) as action
        from pg_constraint as mine
        where mine.conrelid = target and mine.contype in ('c', 'p', 'u')
        union all
        select 2, mine.attnum, format('drop column %I', mine.attname)
        from pg_attribute as mine
        where mine.attrelid = target and mine.attnum = any(going)
        union all
        select 3, wanted.attnum,
            format('add column %I %s', wanted.attname, format_type(wanted.atttypid, wanted.atttypmod))
        from pg_attribute as wanted
        where
            wanted.attrelid = shape and wanted.attnum > 0 and not wanted.attisdropped
            and not exists (
                select from pg_attribute as mine
                where
                    mine.attrelid = target and mine.attname = wanted.attname
                    and mine.attnum <> all(going) and not mine.attisdropped
            )
    ) as needed;
    if actions is not null then
        execute format('alter table %s %s', target, actions);
    end if;
    select string_agg(format(
        'alter %I %s not null', attname, case when attnotnull then 'set' else 'drop' end
    ), ', ' order by attnum) into actions
    from pg_attribute
    where attrelid = shape and attnum > 0 and not attisdropped;
    execute format('alter table %s %s', target, actions);
    -- A statement for each, as Citus demands.
    for actions in
        select concat(
            'add ', case contype when 'c' then format('constraint %I ', conname) end,
            pg_get_constraintdef(oid)
        )
        from pg_constraint
        where conrelid = shape and contype in ('c', 'p', 'u')
    loop
        execute format('alter table %s %s', target, actions);
    end loop;
    perform raw.put_back_views(own_views);
end
$$;

-- Create a view, or replace it in place: what reads it stays. One that is the same is not touched.
create or replace function raw.replace_view(name text, definition text) returns boolean
language plpgsql as $$
declare
    existing regclass := to_regclass(name);
    kind "char" := (select relkind from pg_class where oid = existing);
    own_views jsonb;
    is_same boolean;
begin
    if existing is null then
        execute format('create view %s as %s', name, definition);
        return true;
    end if;
    if kind = 'v' then
        execute format('create temporary view definition_of_a_view as %s', definition);
        is_same := pg_get_viewdef(existing) = pg_get_viewdef('pg_temp.definition_of_a_view'::regclass);
        drop view definition_of_a_view;  -- not by its schema, which Citus takes for a lasting one
        if is_same then
            return false;
        end if;
        begin
            perform raw.execute_patiently(
                array[format('create or replace view %s as %s', name, definition)], array[existing]
            );
            return true;
        exception when invalid_table_definition then
            -- Columns go or change; only what nobody reads can be made from the beginning.
        end;
    end if;
    own_views := raw.take_own_views(existing, statements => array[
        format('drop %s %s', case kind when 'v' then 'view' else 'table' end, existing)
    ]);
    execute format('create view %s as %s', name, definition);
    perform raw.put_back_views(own_views);
    return true;
end
$$;

-- Write a relation's description and those of its columns, by their names, where they differ.
create or replace function raw.describe(relation regclass, description text, columns jsonb) returns void
language plpgsql as $$
declare
    kind text := case relkind when 'v' then 'view' else 'table' end from pg_class where oid = relation;
    statement text;
begin
    if description is distinct from obj_description(relation, 'pg_class') then
        execute format('comment on %s %s is %L', kind, relation, description);
    end if;
    for statement in
        select format('comment on column %s.%I is %L', relation, attname, columns ->> attname)
        from pg_attribute
        where
            attrelid = relation and attnum > 0 and not attisdropped and columns ? attname
            and columns ->> attname <> coalesce(col_description(attrelid, attnum), '')
    loop
        execute statement;
    end loop;
end
$$;

-- Give a table the rows of another one, if they differ; returns whether they did.
create or replace function raw.replace_rows(target regclass, fresh regclass) returns boolean
language plpgsql as $$
declare
    columns text := (
        select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
        where attrelid = fresh and attnum > 0 and not attisdropped
    );
    -- Compared as texts: some types, such as polygon, can't be told apart in any other way.
    texts text := (
        select string_agg(format('%I::text', attname), ', ' order by attnum) from pg_attribute
        where attrelid = fresh and attnum > 0 and not attisdropped
    );
    differs boolean;
begin
    execute format(
        'select exists (select %1$s from %2$s except all select %1$s from %3$s)'
        ' or exists (select %1$s from %3$s except all select %1$s from %2$s)',
        texts, target, fresh
    ) into differs;
    if differs then
        perform raw.identify_rows(target);
        execute format('delete from %s', target);
        execute format('insert into %s (%s) select %s from %s', target, columns, columns, fresh);
    end if;
    return differs;
end
$$;

-- Put a new table in the place of another one under its name. The views on the old one read the
-- new one from then on, which must have the columns that they read.
create or replace function raw.replace_table(old regclass, fresh regclass) returns void
language plpgsql as $$
declare
    kind "char" := (select relkind from pg_class where oid = old);
    name name := (select relname from pg_class where oid = old);
    home name := (select relnamespace::regnamespace from pg_class where oid = old);
    readers text[];
    definitions text[];
begin
    perform raw.wait_for_older_snapshots(old);
    perform raw.lock_patiently(array[old], 'access exclusive');
    select
        array_agg(reader::text),
        array_agg(pg_get_viewdef(reader))
    into readers, definitions
    from (
        select distinct rule.ev_class::regclass as reader
        from pg_depend as dependency
        inner join pg_rewrite as rule
            on dependency.objid = rule.oid and dependency.classid = 'pg_rewrite'::regclass
        inner join pg_class on pg_class.oid = rule.ev_class and pg_class.relkind = 'v'
        where
            dependency.refclassid = 'pg_class'::regclass and dependency.refobjid = old
            and rule.ev_class <> old  -- a view's own rule
    ) as found;
    execute format('alter table %s rename to %I', old, left(name, 50) || '_replaced');
    execute format('alter table %s set schema %I', fresh, home);
    for number in 1 .. coalesce(array_length(readers, 1), 0) loop
        begin
            execute format('create or replace view %s as %s', readers[number], definitions[number]);
        exception when invalid_table_definition then
            -- A column of the table has another scale now: that of the view keeps the type that it had.
            execute (
                select format(
                    'create or replace view %s as select %s from (%s) as trips', readers[number],
                    string_agg(format(
                        '%1$I::%2$s as %1$I', attname, format_type(atttypid, atttypmod)
                    ), ', ' order by attnum), rtrim(definitions[number], ';')
                )
                from pg_attribute
                where attrelid = readers[number]::regclass and attnum > 0 and not attisdropped
            );
        end;
    end loop;
    if raw.dependents_of(old) is not null then
        raise dependent_objects_still_exist using message = format(
            '%s is made in another way, and %s reads it. Drop it, build, and create it again',
            fresh, raw.dependents_of(old)
        );
    end if;
    execute format('drop %s %s', case kind when 'v' then 'view' else 'table' end, old);
end
$$;

-- A row of a month's raw partition: its values in the order of the file's columns, without those that
-- are not there. COPY has written the rows in their order, and nobody writes to them after that: so the
-- page of a row is found by halving. Where somebody has, all pages are read; so too of a month that is
-- packed, or spread over several servers, which has no pages here.
create or replace function raw.values_of_row(part regclass, row_number bigint) returns json
language plpgsql stable strict as $$
declare
    first_page bigint := 0;
    last_page bigint := (
        select pg_relation_size(part) / current_setting('block_size')::int - 1
        from pg_class inner join pg_am on relam = pg_am.oid
        where pg_class.oid = part and amname = 'heap'
    );
    middle bigint;
    first_row bigint;
    columns text := (
        select string_agg(quote_ident(attname), ', ' order by attnum)
        from pg_attribute
        where
            attrelid = part and attnum > 0 and not attisdropped
            and attname not in ('source_month', 'source_row', 'load_id')
    );
    found_values json;
begin
    while first_page < last_page loop
        middle := (first_page + last_page + 1) / 2;
        execute format(
            'select min(source_row) from %s where ctid >= %L and ctid < %L',
            part, format('(%s,0)', middle), format('(%s,0)', middle + 1)
        ) into first_row;
        if first_row <= row_number then
            first_page := middle;
        else
            last_page := middle - 1;
        end if;
    end loop;
    if last_page >= 0 then
        execute format(
            'select json_strip_nulls(row_to_json(file_row)) from ('
            'select %s from %s where ctid >= %L and ctid < %L and source_row = %s) as file_row',
            columns, part, format('(%s,0)', first_page), format('(%s,0)', first_page + 1), row_number
        ) into found_values;
    end if;
    if found_values is null then
        execute format(
            'select json_strip_nulls(row_to_json(file_row)) from ('
            'select %s from %s where source_row = %s) as file_row', columns, part, row_number
        ) into found_values;
    end if;
    return found_values;
end
$$;

-- The file of a row of a load, its line there, and the file's hash; the line is null of a load by an
-- earlier version. A file's lines are its rows and the malformed ones: as many of these come before
-- the row as have fewer rows before them.
create or replace function raw.place_of_row(
    load raw.loads, row_number bigint,
    out file text, out kind text, out sha256 text, out line_number bigint
)
language sql stable as $$
    with files as (
        select
            ordinality as file_number,
            part ->> 'file' as file,
            part ->> 'kind' as kind,
            part ->> 'sha256' as sha256,
            (part ->> 'first_line')::bigint - 1 as lines_before,
            (part ->> 'rows')::bigint as row_count,
            row_number - coalesce(sum((part ->> 'rows')::bigint) over (
                order by ordinality rows between unbounded preceding and 1 preceding
            ), 0)::bigint as its_row
        from jsonb_array_elements(load.files) with ordinality as files (part, ordinality)
    ),

    malformed as (
        select
            file_number,
            line_number - row_number() over (partition by file_number order by line_number)
                as lines_and_rows_before
        from raw.malformed_lines
        where load_id = load.load_id
    )

    select
        coalesce(files.file, load.source),
        files.kind,
        coalesce(files.sha256, load.sha256),
        files.lines_before + files.its_row + (
            select count(*) from malformed
            where
                malformed.file_number = files.file_number
                and malformed.lines_and_rows_before - files.lines_before < files.its_row
        )
    from (select) as always
    left join files on files.its_row between 1 and files.row_count
$$;

-- What analysts call: the only function outside of the schema raw, which reads it by the rights of its
-- owner. flows/warehouse/roles.py gives a role that is made later the right to call it.
create or replace function public.trip_origin(
    trip_id bigint,
    inout dataset text default null,
    out source_month date,
    out file text,
    out line_in_file bigint,
    out row_in_file bigint,
    out sha256 text,
    out loaded_at timestamptz,
    out flow_run_id uuid,
    out raw_values json,
    out archive text,
    out row_in_archive bigint
) returns setof record
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    days constant bigint := trip_id / 100000000;
    row_number constant bigint := trip_id % 100000000;
    asked_for constant text := dataset;
    load raw.loads;
    place record;
    is_found boolean := false;
    dropped text;
begin
    if trip_id is null then
        return;
    end if;
    if days between 0 and 100000 then
        source_month := date '2000-01-01' + days::int;
    end if;
    for load in
        select latest.*
        from (
            select distinct on (loads.dataset) loads.*
            from raw.loads
            where
                loads.source_month = trip_origin.source_month
                and (asked_for is null or loads.dataset = asked_for)
            order by loads.dataset asc, loads.load_id desc
        ) as latest
        where row_number between 1 and latest.row_count
        order by latest.dataset desc
    loop
        raw_values := raw.values_of_row(
            raw.partition_of(to_regclass(format('raw.%I', load.dataset || '_tripdata')), load.source_month),
            row_number
        );
        archive := null;
        row_in_archive := null;
        if raw_values is null then
            archive := (select archives.file from raw.archives where archives.load_id = load.load_id);
            if archive is null then
                dropped := load.dataset;
                continue;
            end if;
            row_in_archive := row_number;
        end if;
        is_found := true;
        place := raw.place_of_row(load, row_number);
        dataset := load.dataset;
        file := place.file;
        sha256 := place.sha256;
        line_in_file := case when place.kind <> 'Parquet' then place.line_number end;
        row_in_file := case when place.kind = 'Parquet' then place.line_number - 1 end;
        loaded_at := load.finished_at;
        flow_run_id := load.flow_run_id;
        return next;
    end loop;
    if is_found then
        return;
    elsif dropped is not null then
        raise no_data_found using message = format(
            'the rows of %1$s %2$s are not in raw any more. Load them again: make run DATASET=%1$s MONTH=%2$s',
            dropped, to_char(source_month, 'YYYY-MM')
        );
    end if;
    raise no_data_found using message = format(
        'no row that is loaded has the trip_id %s%s. Take it from a table of trips',
        trip_id, ' in the dataset ' || asked_for
    );
end
$$;
revoke all on function public.trip_origin(bigint, text) from public;
comment on function public.trip_origin(bigint, text) is
'The row of TLC''s file that a trip is from: its values as texts, the file, and the line there; of a month '
'that raw has let go, in place of the values, the file in data/archive and the row''s source_row in it. One '
'row for each dataset that has such a trip_id, or for the one that is named (nyc-taxi-elt)';
do $$
begin
    if exists (
        select from pg_roles
        where rolname = 'analyst' and shobj_description(oid, 'pg_authid') like 'nyc-taxi-elt: %'
    ) then
        grant execute on function public.trip_origin(bigint, text) to analyst;
    end if;
end
$$;

-- Names in a warehouse of an earlier version: dbt called an index by a hash, and a month's kept the
-- name of the table that it was filled into. Nothing is rewritten, and no reader waits. Where somebody
-- else has locked one, it keeps its name.
do $$
declare
    own record;
begin
    for own in
        select
            indexrelid::regclass as index,
            named.relnamespace::regnamespace as home,
            case
                when named.relname ~ '^new_' then raw.name_after(
                    relation.relname, regexp_replace(named.relname, '^new_[0-9a-f]{8}_[0-9]+', '')
                )
                else raw.name_after(relation.relname, format('_%s_idx', (
                    select string_agg(attname, '_' order by array_position(indkey::smallint[], attnum))
                    from pg_attribute where attrelid = indrelid and attnum = any(indkey)
                )))
            end as name
        from pg_index
        inner join pg_class as named on indexrelid = named.oid
        inner join pg_class as relation on indrelid = relation.oid
        where
            raw.is_ours(coalesce(pg_partition_root(indrelid), indrelid))
            and named.relname ~ '^(new_[0-9a-f]{8}_[0-9]+_.*|[0-9a-f]{32})$'
    loop
        if to_regclass(format('%I.%I', own.home, own.name)) is null then
            execute format('alter index %s rename to %I', own.index, own.name);
        end if;
    end loop;
exception when lock_not_available then
    raise notice 'some indexes keep the names of an earlier version';
end
$$;
