{#-
    A table that is kept up to date month by month.

    The model is written as if for all months, and must have a column source_month. A month is
    built anew when the loader's audit (raw.loads) has a later load of it than the one from which
    it was last built; staging.built_months remembers that, in the same transaction. dbt's own
    incremental models look at the newest rows instead: one trip dated 2098 would silence all
    later months, and a month that is loaded again would never be seen.
-#}
{% materialization incremental_by_month, adapter='postgres' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set from_scratch = existing is none or not existing.is_table or should_full_refresh() -%}
    {%- set new_relation = make_temp_relation(this) if not from_scratch
        else make_intermediate_relation(target_relation) -%}
    {%- set grant_config = config.get('grants') -%}

    {% if from_scratch %}{{ drop_relation_if_exists(load_cached_relation(new_relation)) }}{% endif %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {#- Two builds at once would both add the same months. The second waits, however long: the
        hooks, which set a time limit for other locks, come after. -#}
    {% do run_query("select pg_advisory_xact_lock(hashtext('" ~ target_relation ~ "'))") %}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% do allow_parallel_plans() %}
    {% do refuse_foreign_table(existing) %}

    {%- set months = changed_months(target_relation, from_scratch) -%}
    {%- set changed = "source_month in ('" ~ (months | map(attribute=0) | join("', '")) ~ "')"
        if months else 'false' -%}
    {%- set built = sql if from_scratch
        else 'select * from (' ~ sql ~ ') as model where ' ~ changed -%}

    {#- Not dbt's create_table_as: for a model with a contract, that inserts, without parallel plans. -#}
    {% if config.get('contract').enforced %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
    {% call statement('main') -%}
        create {{ 'temporary ' if not from_scratch }}table {{ new_relation }} as
        {{ built }}
    {%- endcall %}

    {% if from_scratch %}
        {% if existing is not none %}{% do adapter.drop_relation(existing) %}{% endif %}
        {% do adapter.rename_relation(new_relation, target_relation) %}
        {% do create_indexes(target_relation) %}
    {% else %}
        {%- set columns = adapter.get_columns_in_relation(target_relation)
            | map(attribute='quoted') | join(', ') -%}
        {% call statement('replace_months') -%}
            delete from {{ target_relation }} where {{ changed }};
            insert into {{ target_relation }} ({{ columns }})
            select {{ columns }} from {{ new_relation }};
            drop table {{ new_relation }};
        {%- endcall %}
    {% endif %}

    {% do remember_built_months(target_relation, months, from_scratch) %}
    {% do apply_grants(target_relation, grant_config, should_revoke=True) %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{#- A table that these models did not make is somebody's: it is not ours to replace. -#}
{% macro refuse_foreign_table(existing) %}
    {%- if existing is not none and existing.is_table
        and 'source_month' not in adapter.get_columns_in_relation(existing) | map(attribute='name') -%}
        {{ exceptions.raise_compiler_error(
            existing ~ " is there already, and no table of this project. Rename it, or choose another"
            ~ " database with POSTGRES_DB") }}
    {%- endif -%}
{% endmacro %}


{#- Months as (source_month, load_id): all, or those loaded since the relation was last built. -#}
{% macro changed_months(relation, all_months) %}
    {%- set query -%}
        select
            loads.source_month,
            max(loads.load_id) as load_id
        from {{ source('tlc', 'loads') }} as loads
        group by loads.source_month
        {% if not all_months -%}
        except
        select
            built_months.source_month,
            built_months.load_id
        from staging.built_months
        where built_months.relation = '{{ relation.schema }}.{{ relation.identifier }}'
        {%- endif %}
        order by source_month
    {%- endset -%}
    {{ return(run_query(query).rows) }}
{% endmacro %}


{% macro remember_built_months(relation, months, from_scratch) %}
    {%- set name = relation.schema ~ '.' ~ relation.identifier -%}
    {% if from_scratch %}
        {% do run_query("delete from staging.built_months where relation = '" ~ name ~ "'") %}
    {% endif %}
    {% for source_month, load_id in months %}
        {%- set statement -%}
            insert into staging.built_months (relation, source_month, load_id)
            values ('{{ name }}', '{{ source_month }}', {{ load_id }})
            on conflict (relation, source_month) do update
            set
                load_id = excluded.load_id,
                is_tested = false
        {%- endset -%}
        {% do run_query(statement) %}
    {% endfor %}
{% endmacro %}


{% macro create_built_months() %}
    {% if execute and load_relation(source('tlc', 'loads')) is none %}
        {{ exceptions.raise_compiler_error("no month has been loaded yet: `make run` loads one") }}
    {% endif %}
    create schema if not exists staging;
    create table if not exists staging.built_months (
        relation text,
        source_month date,
        load_id bigint not null,
        is_tested boolean not null default false,
        primary key (relation, source_month)
    );
{% endmacro %}


{#-
    PostgreSQL's planner takes a whole table's rows as too dear to pass between processes. Casting
    them costs far more, so here it is told that they are free.
-#}
{% macro allow_parallel_plans() %}
    {% do run_query('set local parallel_tuple_cost = 0; set local parallel_setup_cost = 0') %}
{% endmacro %}
