-- Of a sample that was drawn at random: how many trips of its month each of its trips stands for. Null
-- of whole months, and of samples that were not drawn so, or from before.
alter table raw.loads add column sampled_one_in int;

-- The report asks the marts itself, so that its views go. Where somebody's view reads one, all stay.
do $$
declare
    views text := (
        select string_agg(oid::regclass::text, ', ')
        from pg_class
        where
            relnamespace = to_regnamespace('staging') and relkind = 'v' and relname like 'report\_%'
            and obj_description(oid, 'pg_class') like '%(nyc-taxi-elt)'
    );
begin
    if views is not null then
        execute 'drop view ' || views;
    end if;
exception
    when dependent_objects_still_exist then null;
end
$$;
