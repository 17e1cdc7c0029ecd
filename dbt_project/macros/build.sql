{#-
    What the materializations of this project share. A relation is this project's if its comment ends
    with `(nyc-taxi-elt)`; nothing else is touched.
-#}

{#- Before the first model: all that is in the way is named, before anything is written. From here on
    nobody knows with which project the models are built, until a whole build says so. -#}
{% macro check_the_warehouse() %}
    {%- if not execute or flags.WHICH not in ('build', 'run', 'seed', 'retry') -%} {{ return('') }} {%- endif -%}
    {%- do refuse_some_of_the_rows() -%}
    {%- do refuse_materializations_that_drop() -%}
    {%- set built_projects = source('bookkeeping', 'built_projects') -%}
    {%- if ask("to_regclass('raw.loads') is null") -%}
        {{ exceptions.raise_compiler_error("no month has been loaded yet: `make run` loads one") }}
    {%- elif ask("not exists (select from raw.loads)") -%}
        {{ exceptions.raise_compiler_error("no month has been loaded yet: `make run` loads one") }}
    {%- elif ask("to_regprocedure('raw.describe(regclass, text, jsonb)') is null") -%}
        {{ exceptions.raise_compiler_error("an earlier version made this warehouse: `make run` upgrades it") }}
    {%- endif -%}
    {%- if var('months') and target.name == 'warehouse' -%}
        {{ exceptions.raise_compiler_error("`months` limits the target dev alone: add --target dev") }}
    {%- endif -%}
    {%- do refuse_months_that_are_not_loaded() -%}
    {%- set names = [] -%}
    {%- for id in graph.nodes if id.startswith(('model.', 'seed.')) -%}
        {%- do names.append(name_of_node(graph.nodes[id])) -%}
    {%- endfor -%}
    {%- set in_the_way = ask(
        "string_agg(name, ', ') from unnest(array['" ~ names | join("', '") ~ "']) as name
        where to_regclass(name) is not null and not raw.is_ours(to_regclass(name))"
    ) -%}
    {%- if in_the_way -%}
        {{ exceptions.raise_compiler_error(
            in_the_way ~ " in this database: not made by this project, which needs the name. Rename or "
            ~ "move, or use another database: POSTGRES_DB"
        ) }}
    {%- endif -%}
    {%- do refuse_what_reads_nothing() -%}
    {%- do name_what_no_model_makes(names) %}
    {{ prepare_dev() if target.name != 'warehouse' }}
    delete from {{ built_projects }}
{% endmacro %}


{#- `--empty`, `--sample` and event times would build months of some of their rows, and write down that
    they are built. -#}
{% macro refuse_some_of_the_rows() %}
    {%- set asked = [] -%}
    {%- for name in ['empty', 'sample', 'event_time_start', 'event_time_end'] -%}
        {%- if invocation_args_dict.get(name) -%} {%- do asked.append('--' ~ name | replace('_', '-')) -%} {%- endif -%}
    {%- endfor -%}
    {%- if asked -%}
        {{ exceptions.raise_compiler_error(
            asked | join(' and ') ~ " would leave tables with some of their rows, for everybody who reads "
            ~ "them: nothing was built. Leave it out; --target dev builds a few months, in tables of your own"
        ) }}
    {%- endif -%}
{% endmacro %}


{#- `dbt clone` runs no start hook. Here state and target are one warehouse, and a view would be made of
    itself. -#}
{% materialization clone, adapter='postgres' %}
    {{ exceptions.raise_compiler_error(
        "dbt clone would make relations of this warehouse out of themselves. For tables of your own, build "
        ~ "into the target dev"
    ) }}
{% endmaterialization %}


{#- dbt's own materializations drop a relation with all that people have built on it. -#}
{% macro refuse_materializations_that_drop() %}
    {%- set instead = {
        'view': 'replaced_view', 'table': 'replaced_table', 'incremental': 'incremental_by_month',
        'materialized_view': 'replaced_table', 'snapshot': 'incremental_by_month',
    } -%}
    {%- for id in graph.nodes if id.startswith('model.' ~ project_name ~ '.') -%}
        {%- set node = graph.nodes[id] -%}
        {%- if node.config.materialized in instead -%}
            {{ exceptions.raise_compiler_error(
                node.original_file_path ~ ": materialized='" ~ node.config.materialized ~ "' drops what people "
                ~ "have built on the relation. Write materialized='" ~ instead[node.config.materialized] ~ "'"
            ) }}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


{#- `dbt run` of a warehouse in which nothing is built yet: it makes no seeds, which models read. -#}
{% macro refuse_what_reads_nothing() %}
    {%- set read = [] -%}
    {%- for id in selected_resources if id.startswith('model.') -%}
        {%- for below in nodes_below(graph.nodes[id]) if below not in selected_resources -%}
            {%- do read.append("'" ~ name_of_node(graph.nodes[below]) ~ "'") -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set missing = ask(
        "string_agg(distinct name, ', ') from unnest(array[" ~ read | join(', ')
        ~ "]::text[]) as name where to_regclass(name) is null"
    ) -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error(
            missing ~ ": read by what was to be built, and not there yet. `dbt build` makes all; `dbt run` "
            ~ "needs `dbt seed` before, and --select a plus before the model's name"
        ) }}
    {%- endif -%}
{% endmacro %}


{#- Tables and views of this project that no model makes any more: people still read them, and nothing
    keeps them up to date. -#}
{% macro name_what_no_model_makes(names) %}
    {%- set left_over = rows_of(
        "select case relkind when 'v' then 'view' else 'table' end, pg_class.oid::regclass::text
        from pg_class
        where relkind in ('r', 'p', 'v') and raw.is_ours(pg_class.oid)
        and relnamespace::regnamespace::text in (select split_part(name, '.', 1) from unnest(array['"
        ~ names | join("', '") ~ "']) as name)
        and pg_class.oid <> all (array(select to_regclass(name) from unnest(array['"
        ~ names | join("', '") ~ "']) as name where to_regclass(name) is not null)) order by 2"
    ) -%}
    {%- for kind, name in left_over -%}
        {%- do log(
            name ~ " is no model's any more, and stays as it was last built. Drop it when nobody needs it: "
            ~ "drop " ~ kind ~ " " ~ name, info=True
        ) -%}
    {%- endfor -%}
{% endmacro %}


{#- Run statements whose results nobody reads. `run_query` would make a table of them, which takes longer
    than most of these statements. -#}
{% macro run(statements) %}
    {%- do adapter.execute(statements, fetch=false) -%}
{% endmacro %}


{#- The rows that a query finds, as tuples of what the driver makes of the values: `run_query` makes its own
    types. Without dbt's comment that names the node. -#}
{% macro rows_of(query) %}
    {%- set _, cursor = adapter.add_query(query, auto_begin=false) -%}
    {{ return(cursor.fetchall()) }}
{% endmacro %}


{#- The one value that `select …` finds. -#}
{% macro ask(expression) %}
    {{ return(rows_of('select ' ~ expression)[0][0]) }}
{% endmacro %}


{#- One build of a model at a time: two would both add the same months. With the turn `keep_turn`, to
    the end of the session, for a build of several transactions. -#}
{% macro begin_build(target, turn='take_turns') %}
    {% do refuse_some_of_the_rows() %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% do run("select raw." ~ turn ~ "('" ~ name_of(target) ~ "')") %}
{% endmacro %}


{#- Commit, and go on in a transaction of its own. It is begun in so many words: dbt-postgres leaves that to
    psycopg2, which does not see dbt's COMMIT, and without them each statement would be one of its own. -#}
{% macro begin_next_transaction() %}
    {{ adapter.commit() }}
    {% call statement('begin') -%} begin {%- endcall %}
{% endmacro %}


{#- Grants, descriptions, and the end of the transaction. -#}
{% macro end_build(target) %}
    {% do apply_grants(target, config.get('grants'), should_revoke=False) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
{% endmacro %}


{#- Whether a table of this kind is missing, or was made with other columns and constraints than it is to
    have. -#}
{% macro shape_is_new(target, ddl, kind='r') %}
    {{ return(ask(
        "not exists (select from pg_class where oid = to_regclass('" ~ target ~ "') and relkind = '" ~ kind
        ~ "') or not exists (select from " ~ source('bookkeeping', 'built_shapes')
        ~ " where relation = '" ~ name_of(target) ~ "' and shape = '" ~ local_md5(ddl) ~ "')"
    )) }}
{% endmacro %}


{#- Make a table with these columns and constraints, or empty the one that is there and give it them. A
    view of that name, or a table of months, as the model once was, makes way. -#}
{% macro take_shape(target, ddl) %}
    {%- set kind = kind_of(target) -%}
    {% if kind == 'r' %}
        {% do run("select raw.identify_rows('" ~ target ~ "')") %}
        {% do run('delete from ' ~ target) %}
        {% do run("select raw.reshape('" ~ target ~ "', '" ~ create_shape(target, ddl) ~ "')") %}
    {% else %}
        {% do create_in_place('create table ' ~ target ~ ' ' ~ ddl, target, kind) %}
    {% endif %}
    {% do remember_shape(target, ddl) %}
{% endmacro %}


{#- What a relation is, as pg_class.relkind has it; null where there is none. -#}
{% macro kind_of(target) %}
    {{ return(ask("(select relkind::text from pg_class where oid = to_regclass('" ~ target ~ "'))")) }}
{% endmacro %}


{#- Create a table, where there may be a relation of another kind; this project's views on that stay. -#}
{% macro create_in_place(statement, target, kind) %}
    {%- set drop = 'drop ' ~ ('view ' if kind == 'v' else 'table ') ~ target -%}
    {%- set taken = ask(
        "raw.take_own_views('" ~ target ~ "', statements => array['" ~ drop ~ "'])::text"
    ) if kind -%}
    {% do run(statement) %}
    {% if taken %}
        {% do run("select raw.put_back_views('" ~ taken | replace("'", "''") ~ "')") %}
    {% endif %}
{% endmacro %}


{% macro remember_shape(target, ddl) %}
    {% do run(
        "insert into " ~ source('bookkeeping', 'built_shapes') ~ " (relation, shape)
        values ('" ~ name_of(target) ~ "', '"
        ~ local_md5(ddl) ~ "') on conflict (relation) do update set shape = excluded.shape"
    ) %}
{% endmacro %}


{#- An empty table with these columns and constraints, and the model's indexes; returns its name. -#}
{% macro create_shape(target, ddl, on_commit='drop') %}
    {%- set shape = 'shape_' ~ local_md5(target.identifier)[:8] -%}
    {% do run('create temporary table ' ~ shape ~ ' ' ~ ddl ~ ' on commit ' ~ on_commit) %}
    {% do create_indexes(api.Relation.create(identifier=shape)) %}
    {{ return(shape) }}
{% endmacro %}


{#- Without dbt's name for an index, a hash: PostgreSQL calls it after the table and its columns. -#}
{% macro postgres__get_create_index_sql(relation, index_dict) -%}
    {%- set index = adapter.parse_index(index_dict) -%}
    create {{ 'unique ' if index.unique }}index on {{ relation }}
    using {{ index.type or 'btree' }} ({{ index.columns | join(', ') }})
{%- endmacro %}


{#-
    PostgreSQL's planner takes a whole table's rows as too dear to pass between processes, and goes by
    a table's size for how many read it. Casting them costs far more, so here it is told that they are
    free, and that a month is large: as many read it as the server has set. And it has no statistics of a month
    that has just been loaded, takes it for a few rows, and joins those in a nested loop, which of a
    million rows would never end, or sorts them for a join with a small dictionary.

    The first setting is Citus's, and has its other servers told of all that is set from here on.
-#}
{% macro plan_for_whole_months() %}
    {% do run(
        "set local citus.propagate_set_commands = 'local'"
    ) %}
    {# citus_columnar's packed months can't be read beside a parallel scan of others. #}
    {% do run(
        "do $packed$ begin
            if exists (
                select from pg_class inner join pg_am on relam = pg_am.oid
                where relnamespace = 'raw'::regnamespace and amname = 'columnar'
            ) then
                set local max_parallel_workers_per_gather = 0;
            end if;
        end $packed$"
    ) %}
    {% do run(
        "set local parallel_tuple_cost = 0; set local parallel_setup_cost = 0;
        set local min_parallel_table_scan_size = '1MB';
        set local enable_nestloop = off; set local enable_mergejoin = off"
    ) %}
{% endmacro %}


{#- Descriptions are written where they differ, in one statement, and end with the mark of what is this
    project's. -#}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) %}
    {%- set columns = {} -%}
    {%- for name, column in model.columns.items() -%}
        {%- do columns.update({name: column.description}) -%}
    {%- endfor -%}
    {% do run(
        "select raw.describe('" ~ relation ~ "', '"
        ~ (model.description.strip() ~ ' (nyc-taxi-elt)') | replace("'", "''") ~ "', '"
        ~ tojson(columns) | replace("'", "''") ~ "')"
    ) %}
{% endmacro %}
