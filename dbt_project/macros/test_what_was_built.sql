{#-
    `dbt build` tests the months that have been built since all tests last passed, so that a reload
    of one month does not cost the reading of years. `dbt test` tests all months.

    The override is dbt's own way to say what a generic test reads ("where" in its documentation).
-#}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where') or '' -%}
    {%- set months = untested_months(relation) if execute else none -%}
    {%- if months is not none -%}
        {%- set where = (where ~ ' and ' if where) ~ months -%}
    {%- endif -%}
    {%- if where -%}
        (select * from {{ relation }} where {{ where }}) as dbt_subquery
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}


{#- A condition on source_month; none where all months of the relation are to be tested. -#}
{% macro untested_months(relation) -%}
    {%- set models = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('alias', 'equalto', relation.identifier) | list -%}
    {%- if flags.WHICH != 'build' or not models or 'source_month' not in models[0].columns -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set months = run_query(
        'select distinct source_month from staging.built_months where not is_tested'
    ).columns[0].values() -%}
    {{ return("source_month in ('" ~ months | join("', '") ~ "')" if months else 'false') }}
{%- endmacro %}


{#- After a build of everything in which nothing failed. -#}
{% macro remember_tested_months(results) -%}
    {%- set is_whole = flags.WHICH == 'build' and not (
        invocation_args_dict.get('select') or invocation_args_dict.get('exclude')
        or invocation_args_dict.get('resource_types') or invocation_args_dict.get('exclude_resource_types')
    ) -%}
    {%- set failed = results | selectattr('status', 'in', ['error', 'fail', 'skipped', 'runtime error']) | list -%}
    {%- if execute and is_whole and not failed -%}
        update staging.built_months
        set is_tested = true
        where not is_tested
    {%- endif -%}
{%- endmacro %}
