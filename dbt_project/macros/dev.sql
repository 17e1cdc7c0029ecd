{#-
    What differs outside of the warehouse, in the target dev (profiles.yml): the same models of a few
    months, in schemas of a person's own. It reads the raw schema, and writes nothing that analysts read.
-#}

{#- Whether a row of raw.loads is of a month that the models are built of: in dev one of the variable
    `months`, or else the dataset's newest. -#}
{% macro month_is_in_target() -%}
    {%- if target.name == 'warehouse' -%}
        true
    {%- elif var('months') -%}
        to_char(source_month, 'YYYY-MM') in ('{{ var('months') | join("', '") }}')
    {%- else -%}
        (dataset, source_month) in (
            select dataset, max(source_month) from {{ source('tlc', 'loads') }} group by dataset
        )
    {%- endif -%}
{%- endmacro %}


{#- A month that is not there is most likely a typing error. -#}
{% macro refuse_months_that_are_not_loaded() %}
    {%- set missing = ask(
        "string_agg(month, ', ') from unnest(array['" ~ var('months') | join("', '") ~ "']) as month
        where month <> '' and month not in (select to_char(source_month, 'YYYY-MM') from raw.loads)"
    ) -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error(missing ~ " is not loaded: `months` is a list as [2021-01, 2021-02]") }}
    {%- endif %}
{% endmacro %}


{#- Before the first model of dev: the schemas that no model has, and bookkeeping as the warehouse's. A
    table of it that has other columns, of an earlier version, is made anew: all is built again. -#}
{% macro prepare_dev() -%}
    create schema if not exists {{ schema_of_months() }};
    create schema if not exists {{ generate_schema_name('bookkeeping', none) }};
    {%- for table in graph.sources.values() if table.source_name == 'bookkeeping' %}
    {%- set own, model = table.schema ~ '.' ~ table.name, 'bookkeeping.' ~ table.name %}
    {%- if ask(columns_in_words(own) ~ ' <> ' ~ columns_in_words(model)) %}
    drop table if exists {{ own }};
    {%- endif %}
    create table if not exists {{ own }} (like {{ model }} including all);
    {%- endfor %}
{%- endmacro %}


{% macro columns_in_words(table) -%}
    (
        select string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod)), ', ' order by attname)
        from pg_attribute
        where attrelid = to_regclass('{{ table }}') and attnum > 0 and not attisdropped
    )
{%- endmacro %}
