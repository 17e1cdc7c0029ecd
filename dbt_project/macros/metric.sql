{#-
    A metric's SQL over trips, from its one definition in models/marts/trips/trips.yml.

    The same definition serves `mf query`. Knows simple and ratio metrics.
-#}
{% macro metric(name) -%}
    {%- if not execute -%}
        null
    {%- else -%}
        {%- set definition = graph.metrics['metric.' ~ project_name ~ '.' ~ name] -%}
        {%- set parameters = definition.type_params -%}
        {%- if definition.type == 'simple' -%}
            {{ parameters.metric_aggregation_params.agg }}({{ parameters.expr }})::{{ definition.config.meta.data_type }}
        {%- elif definition.type == 'ratio' -%}
            (
                {{ metric(parameters.numerator.name) }}::numeric
                / nullif({{ metric(parameters.denominator.name) }}, 0)
            )::{{ definition.config.meta.data_type }}
        {%- else -%}
            {{ exceptions.raise_compiler_error("metric() does not know the type " ~ definition.type) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#- The metrics that every mart carries: sums, which can be summed again. -#}
{% macro summed_metrics() -%}
    {{ return([
        'trips', 'trips_with_fare', 'revenue', 'fares', 'card_fares', 'card_tips', 'refunds',
    ]) }}
{%- endmacro %}

{% macro metric_columns() -%}
    {%- for name in summed_metrics() %}
    {{ metric(name) }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#- The same columns, of a table that has them. -#}
{% macro metric_names(table) -%}
    {%- for name in summed_metrics() %}
    {{ table }}.{{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
