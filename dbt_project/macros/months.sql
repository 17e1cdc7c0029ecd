{#-
    The months of which a relation is to be built, each with (dataset, source_month, load_id, code,
    why): those that have been loaded since it was last built (for what is made of the trips: built
    since), that other code has built, or that are not in it any more; or all of them. A month without
    a load_id is gone from the raw table. Logs how many months are built again, and why. Without those
    that `LEFT_OUT_MONTHS` in the environment names, of what reads raw rows: flows/build.py can't land them
    again from the archive. A table that gets a new shape loses all of its months, so there none is left out.
-#}
{% macro changed_months(relation, all_months, has_new_shape) %}
    {%- set built_months = source('bookkeeping', 'built_months') -%}
    {%- set own_code = code_of_model(get_table_columns_and_constraints()) -%}
    {%- set query -%}
        select
            dataset,
            source_month,
            loaded.load_id,
            loaded.code,
            case
                when loaded.load_id is null then 'not loaded any more'
                when built.load_id is null then 'new'
                when built.is_lost then 'not in the table any more'
                when loaded.load_id <> built.load_id then 'loaded again'
                when loaded.code is distinct from built.code then 'built by other code'
                else 'asked for'
            end as why
        from (
            {% if config.get('meta').dataset -%}
            select
                dataset,
                source_month,
                max(load_id) as load_id,
                '{{ own_code }}' as code
            from {{ source('tlc', 'loads') }}
            where dataset = '{{ config.get('meta').dataset }}' and {{ month_is_in_target() }}
            {%- else -%}
            select
                dataset,
                source_month,
                max(load_id) filter (where relation in ({{ tables_of_trips() }})) as load_id,
                md5('{{ own_code }}' || string_agg(code, ' ' order by relation)) as code
            from {{ built_months }}
            where relation in ({{ (tables_below(model, []) or [tables_of_trips()]) | join(', ') }})
            {%- endif %}
            group by dataset, source_month
        ) as loaded
        full outer join (
            select
                built_months.*,
                lost.source_month is not null as is_lost
            from {{ built_months }} as built_months
            left join raw.lost_months('{{ built_months }}', '{{ name_of(relation) }}') as lost
                using (dataset, source_month)
            where built_months.relation = '{{ name_of(relation) }}'
        ) as built using (dataset, source_month)
        where
            {{ 'true' if all_months or has_new_shape else 'false' }}
            or loaded.load_id is distinct from built.load_id
            or loaded.code is distinct from built.code
            or built.is_lost
        order by dataset, source_month
    {%- endset -%}
    {%- set months = [] -%}
    {%- set is_of_raw_rows = reads_raw_rows(model) -%}
    {%- set may_stay = is_of_raw_rows and not has_new_shape -%}
    {%- set left_out = env_var('LEFT_OUT_MONTHS', '').split(',') if may_stay else [] -%}
    {%- for dataset, source_month, load_id, code, why in rows_of(query) -%}
        {%- set month = {
            'dataset': dataset, 'source_month': source_month, 'load_id': load_id, 'code': code, 'why': why,
        } -%}
        {%- do months.append(month) if name_of_month(month) not in left_out -%}
    {%- endfor -%}
    {%- do refuse_months_without_raw_rows(relation, months) if is_of_raw_rows -%}
    {%- do say_what_is_built_again(relation, months) -%}
    {{ return(months) }}
{% endmacro %}


{#- A month as people write it: yellow 2021-01. -#}
{% macro name_of_month(month) %}
    {{ return(month.dataset ~ ' ' ~ month.source_month.strftime('%Y-%m')) }}
{% endmacro %}


{#- A month whose raw rows somebody has taken away would be built of nothing, in the place of good rows.
    One that was archived flows/build.py lands again: it finds the months in what this says. -#}
{% macro refuse_months_without_raw_rows(relation, months) %}
    {%- set queries = [] -%}
    {%- for month in months if month.load_id -%}
        {%- do queries.append(
            "select '" ~ name_of_month(month) ~ "', exists (select from " ~ source('tlc', 'archives')
            ~ " where load_id = " ~ month.load_id ~ ") where not raw.has_rows('"
            ~ source('tlc', month.dataset ~ '_tripdata') ~ "', '" ~ month.source_month ~ "')"
        ) -%}
    {%- endfor -%}
    {%- if not queries -%} {{ return(none) }} {%- endif -%}
    {%- set gone, archived = [], [] -%}
    {%- for month, is_archived in rows_of(queries | join(' union all ')) -%}
        {%- do (archived if is_archived else gone).append(month) -%}
    {%- endfor -%}
    {%- if gone -%}
        {{ exceptions.raise_compiler_error(
            gone | join(', ') ~ ': no raw rows are left to build ' ~ name_of(relation) ~ ' of, which stays as it was. '
            ~ 'Load again what is gone, as with make run DATASET=' ~ gone[0] | replace(' ', ' MONTH=')
        ) }}
    {%- elif archived -%}
        {%- set dataset, first = archived[0].split(' ') -%}
        {{ exceptions.raise_compiler_error(
            archived | join(', ') ~ ': archived, and ' ~ name_of(relation) ~ ' is to be built of them. Land them '
            ~ 'again, as with make archive DATASET=' ~ dataset ~ ' MONTH=' ~ first ~ ' ARGS=--land-again'
        ) }}
    {%- endif -%}
{% endmacro %}


{% macro say_what_is_built_again(relation, months) %}
    {%- set reasons = [] -%}
    {%- for why, of_it in months | rejectattr('why', 'equalto', 'new') | groupby('why') -%}
        {%- do reasons.append(of_it | length ~ ' ' ~ why) -%}
    {%- endfor -%}
    {%- if reasons -%}
        {%- do log(name_of(relation) ~ ' is built again for months that are: ' ~ reasons | join(', '), info=True) -%}
    {%- endif -%}
{% endmacro %}


{#- The trips' tables, as a list in SQL. What is made of them goes by what they were built of, and
    not by raw.loads: a month may have been loaded again since, and the next build is for that. -#}
{% macro tables_of_trips() %}
    {%- if not execute -%} {{ return('null') }} {%- endif -%}
    {{ return(tables_below(graph.nodes['model.' ~ project_name ~ '.trips'], []) | join(', ')) }}
{% endmacro %}


{% macro is_of(month) -%}
    dataset = '{{ month.dataset }}' and source_month = '{{ month.source_month }}'
{%- endmacro %}


{#- In the transaction that puts them in place, so that it is true whatever happens. `are_apart`: each of
    them is in a table of its own until then. -#}
{% macro remember_built_months(relation, months, are_apart=false) %}
    {%- if not months -%} {{ return(none) }} {%- endif -%}
    {%- set built_months = source('bookkeeping', 'built_months') -%}
    {%- set statement -%}
        {%- for month in months %}
        delete from {{ built_months }} where relation = '{{ name_of(relation) }}' and {{ is_of(month) }};
        {%- if month.load_id %}
        insert into {{ built_months }} (relation, dataset, source_month, load_id, code, has_rows)
        select
            '{{ name_of(relation) }}', '{{ month.dataset }}', '{{ month.source_month }}',
            {{ month.load_id }}, '{{ month.code }}',
            {% if are_apart -%}
            raw.has_rows('{{ fresh_month(relation, month) }}', '{{ month.source_month }}');
            {%- else -%}
            raw.has_rows('{{ relation }}', '{{ month.source_month }}', '{{ month.dataset }}');
            {%- endif %}
        {%- endif %}
        {%- endfor %}
    {%- endset -%}
    {% do run(statement) %}
{% endmacro %}


{% macro name_of(relation) -%}
    {{ relation.schema }}.{{ relation.identifier }}
{%- endmacro %}


{#-
    `dbt build` has each test see the months that were built since it last passed on them, and all of
    them once it has been edited: so a reload of one month does not cost the reading of years. `dbt
    test` tests all months, and so does `dbt retry`.

    The tests ask for it in dbt_project.yml: `+where: month_is_to_be_tested`.
-#}
{% macro postgres__get_where_subquery(relation) -%}
    {%- set where = config.get('where') or '' -%}
    {%- set condition = months_to_test(relation) if 'month_is_to_be_tested' in where else 'true' -%}
    {%- if where -%}
        (select * from {{ relation }} where {{ where | replace('month_is_to_be_tested', condition) }}) as tested
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}


{#- A condition on a relation's rows: those of the months to be tested, where it has months. It says in
    a comment which builds of the months these are, which `remember_tested_months` reads. -#}
{% macro months_to_test(relation) -%}
    {%- if not execute -%} {{ return('true') }} {%- endif -%}
    {%- set models = [] -%}
    {%- for id in nodes_below(model) -%}
        {%- set below = graph.nodes[id] -%}
        {%- if below.alias == relation.identifier -%} {%- do models.append(below) -%} {%- endif -%}
    {%- endfor -%}
    {%- if flags.WHICH != 'build' or not models or 'source_month' not in models[0].columns -%}
        {{ return('true') }}
    {%- endif -%}
    {%- set code = code_of_test() -%}
    {%- set query -%}
        select
            dataset,
            source_month,
            max(built.build_id) as build_id
        from {{ source('bookkeeping', 'built_months') }} as built
        left join (
            select * from {{ source('bookkeeping', 'tested_months') }}
            where test = '{{ model.unique_id }}' and code = '{{ code }}'
        ) as tested using (dataset, source_month)
        where
            built.relation in ({{ (tables_below(model, []) or [tables_of_trips()]) | join(', ') }})
            {{ "and dataset = '" ~ models[0].config.meta.dataset ~ "'" if models[0].config.meta.dataset }}
        group by dataset, source_month, tested.build_id
        having max(built.build_id) > coalesce(tested.build_id, 0)
        order by dataset, source_month
    {%- endset -%}
    {%- set months, keys = [], [] -%}
    {%- for dataset, source_month, build_id in rows_of(query) -%}
        {%- do months.append(dataset ~ ' ' ~ source_month ~ ' ' ~ build_id) -%}
        {%- do keys.append(
            "('" ~ dataset ~ "', '" ~ source_month ~ "')" if 'dataset' in models[0].columns
            else "'" ~ source_month ~ "'"
        ) -%}
    {%- endfor -%}
    {%- if not keys -%} {{ return('false') }} {%- endif -%}
    {%- set key = '(dataset, source_month)' if 'dataset' in models[0].columns else 'source_month' -%}
    {{ return('(' ~ key ~ ' in (' ~ keys | join(', ') ~ ') /* by ' ~ code ~ ': ' ~ months | join(', ') ~ ' */)') }}
{%- endmacro %}


{#- After each run: of every test that has passed, which builds of which months it has seen. A build
    that another run has made meanwhile is not among them. Unit tests are of the SQL, not of months. -#}
{% macro remember_tested_months(results) -%}
    {%- if not execute or flags.WHICH != 'build' -%} {{ return('') }} {%- endif -%}
    {%- set rows = {} -%}
    {%- for result in results
        if result.node.resource_type == 'test' and result.status in ['pass', 'warn'] -%}
        {%- for code, months in modules.re.findall('/[*] by (\\w+): (.*?) [*]/', result.node.compiled_code or '') -%}
            {%- for month in months.split(', ') -%}
                {%- set dataset, source_month, build_id = month.split(' ') -%}
                {%- do rows.update({(result.node.unique_id, dataset, source_month): (code, build_id)}) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if not rows -%} {{ return('') }} {%- endif -%}
    insert into {{ source('bookkeeping', 'tested_months') }} (test, dataset, source_month, code, build_id)
    values
    {%- for (test, dataset, source_month), (code, build_id) in rows.items() %}
    ('{{ test }}', '{{ dataset }}', '{{ source_month }}', '{{ code }}', {{ build_id }}){{ ',' if not loop.last }}
    {%- endfor %}
    on conflict (test, dataset, source_month) do update
    set code = excluded.code, build_id = excluded.build_id
{%- endmacro %}
