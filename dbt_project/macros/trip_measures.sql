{#-
    What every analyst adds to a trip, after its faults (macros/known_faults.sql). The bounds of values
    (macros/values.sql) keep all of these from overflowing.
-#}

{#- No trip of New York's roads is driven at 80 miles an hour on the average: of the 62,757 first
    rows of 2020-01 to 2021-01, 99.9 % stay below 65, and the rest run up to 10,920. -#}
{%- macro fastest_mph() -%} 80 {%- endmacro -%}

{#- Of the same rows, 99.7 % take less than 80 minutes, and hardly any 4 to 20 hours; 0.2 % end near
    24 hours: of vendor 2 alone, whose dropoffs are a day late then. -#}
{%- macro longest_hours() -%} 6 {%- endmacro -%}

{#- Numeric all the way: `date_part` gives a double, whose cast to numeric costs as much again. -#}
{% macro duration_seconds() -%}
    extract(epoch from dropoff_datetime - pickup_datetime)
{%- endmacro %}

{#- Hundredths as a whole number: rounding a numeric costs three times as much. Null where the times say
    nothing of it. -#}
{% macro duration_minutes() -%}
    case
        when faults is null
            then (date_part('epoch', dropoff_datetime - pickup_datetime) / 0.6)::bigint * 0.01
        when not {{ duration_is_lost() }}
            then (
                (date_part('epoch', dropoff_datetime - pickup_datetime) + {{ seconds_of_clock_change() }}) / 0.6
            )::bigint * 0.01
    end::numeric(14, 2)
{%- endmacro %}

{#- Null for trips without a distance or a duration, or with a negative one. -#}
{% macro speed_mph() -%}
    case
        when faults is null
            then trip_distance * 3600 / nullif({{ duration_seconds() }}, 0)
        when
            not ({{ duration_is_lost() }} or {{ has_fault(faults_that_lose('trip_distance')) }})
            and {{ duration_seconds() }} + {{ seconds_of_clock_change() }} > 0
            then trip_distance * 3600 / ({{ duration_seconds() }} + {{ seconds_of_clock_change() }})
    end::numeric(20, 1)
{%- endmacro %}

{#- Null for cash, of which TLC records no tips: 0 would say that nobody tips. -#}
{% macro tip_share(is_cash='payment_type_id = 2') -%}
    case
        when
            fare_amount > 0 and ({{ is_cash }}) is not true
            and (faults is null or not {{ has_fault(faults_that_lose('tip_amount') + ['prearranged']) }})
            then tip_amount / fare_amount
    end::numeric(18, 4)
{%- endmacro %}
