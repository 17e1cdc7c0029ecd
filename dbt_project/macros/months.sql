{#-
    The months, as rows of (dataset, source_month, load_id), that have been loaded since the relation
    was last built (for what is made of the trips: built since), or all of them. A month without a
    load_id is gone from the raw table.
-#}
{% macro changed_months(relation, all_months) %}
    {%- set query -%}
        select
            dataset,
            source_month,
            loaded.load_id
        from (
            select
                dataset,
                source_month,
                max(load_id) as load_id
            {% if config.get('meta').dataset -%}
            from {{ source('tlc', 'loads') }}
            where dataset = '{{ config.get('meta').dataset }}'
            {%- else -%}
            from {{ source('bookkeeping', 'built_months') }}
            where relation in ({{ tables_of_trips() }})
            {%- endif %}
            group by dataset, source_month
        ) as loaded
        full outer join (
            select * from {{ source('bookkeeping', 'built_months') }} where relation = '{{ name_of(relation) }}'
        ) as built using (dataset, source_month)
        where {{ 'true' if all_months else 'loaded.load_id is distinct from built.load_id' }}
        order by dataset, source_month
    {%- endset -%}
    {{ return(run_query(query).rows) }}
{% endmacro %}


{#- The trips' tables, as a list in SQL. What is made of them goes by what they were built of, and
    not by raw.loads: a month may have been loaded again since, and the next build is for that. -#}
{% macro tables_of_trips() %}
    {%- if not execute -%} {{ return('null') }} {%- endif -%}
    {%- set names = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.config.meta.dataset -%}
        {%- do names.append("'" ~ node.schema ~ '.' ~ node.alias ~ "'") -%}
    {%- endfor -%}
    {{ return(names | join(', ')) }}
{% endmacro %}


{% macro is_of(month) -%}
    dataset = '{{ month.dataset }}' and source_month = '{{ month.source_month }}'
{%- endmacro %}


{% macro remember_built_months(relation, months) %}
    {%- if not months -%} {{ return(none) }} {%- endif -%}
    {%- set built_months = source('bookkeeping', 'built_months') -%}
    {%- set statement -%}
        {%- for month in months %}
        delete from {{ built_months }} where relation = '{{ name_of(relation) }}' and {{ is_of(month) }};
        {%- if month.load_id %}
        insert into {{ built_months }} (relation, dataset, source_month, load_id)
        values ('{{ name_of(relation) }}', '{{ month.dataset }}', '{{ month.source_month }}', {{ month.load_id }});
        {%- endif %}
        {%- endfor %}
    {%- endset -%}
    {% do run_query(statement) %}
{% endmacro %}


{% macro name_of(relation) -%}
    {{ relation.schema }}.{{ relation.identifier }}
{%- endmacro %}


{#-
    `dbt build` tests the months that have been built since all tests last passed, so that a reload
    of one month does not cost the reading of years. `dbt test` tests all months.

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


{#- A condition on a relation's rows: those of the months to be tested, where it has months. -#}
{% macro months_to_test(relation) -%}
    {%- if not execute -%} {{ return('true') }} {%- endif -%}
    {%- set models = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('alias', 'equalto', relation.identifier) | list -%}
    {%- if flags.WHICH != 'build' or not models or 'source_month' not in models[0].columns -%}
        {{ return('true') }}
    {%- endif -%}
    {%- set query -%}
        select distinct dataset, source_month from {{ source('bookkeeping', 'built_months') }}
        where
            not is_tested
            {{ "and dataset = '" ~ models[0].config.meta.dataset ~ "'" if models[0].config.meta.dataset }}
    {%- endset -%}
    {%- set of_a_month = [] -%}
    {%- for month in run_query(query).rows -%}
        {%- do of_a_month.append(
            is_of(month) if 'dataset' in models[0].columns else "source_month = '" ~ month.source_month ~ "'"
        ) -%}
    {%- endfor -%}
    {{ return('(' ~ of_a_month | join(' or ') ~ ')' if of_a_month else 'false') }}
{%- endmacro %}


{#- After a build of everything in which nothing failed. Unit tests are of the SQL, not of months. -#}
{% macro remember_tested_months(results) -%}
    {%- set limits = [] -%}
    {%- for name in ['select', 'exclude', 'selector', 'resource_types', 'exclude_resource_types', 'empty'] -%}
        {%- if invocation_args_dict.get(name) and invocation_args_dict[name] | list != ['unit_test'] -%}
            {%- do limits.append(name) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set is_whole = flags.WHICH == 'build' and not limits -%}
    {%- set failed = results | selectattr('status', 'in', ['error', 'fail', 'skipped', 'runtime error']) | list -%}
    {%- if execute and is_whole and not failed -%}
        update {{ source('bookkeeping', 'built_months') }}
        set is_tested = true
        where not is_tested
    {%- endif -%}
{%- endmacro %}
