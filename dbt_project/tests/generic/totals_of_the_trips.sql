{#- Returns the months in which a mart's measures do not add up to those of the trips. -#}
{% test totals_of_the_trips(model, measures) %}
    select
        source_month,
        {{ measures | join(', ') }}
    from (
        select
            source_month,
            {%- for name in measures %}
            {{ metric(name) }} as {{ name }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ get_where_subquery(ref('yellow_taxi_trips')) }}
        group by source_month
    ) as trips
    except
    select
        source_month,
        {%- for name in measures %}
        sum({{ name }}) as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ model }}
    group by source_month
{% endtest %}
