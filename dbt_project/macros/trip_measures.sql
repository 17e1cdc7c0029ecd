{#-
    What every analyst adds to a trip, and what makes a trip implausible. A trip is flagged, never
    dropped; the thresholds are here and nowhere else. A flag is null where what it rests on is
    missing. The bounds of values (macros/values.sql) keep all of these from overflowing.
-#}

{#- No trip of New York's roads is driven at 80 miles an hour on the average: of the 62,757 first
    rows of 2020-01 to 2021-01, 99.9 % stay below 65, and the rest run up to 10,920. -#}
{%- macro fastest_mph() -%} 80 {%- endmacro -%}

{#- Of the same rows, 99.7 % take less than 80 minutes, and hardly any 4 to 20 hours; 0.2 % end near
    24 hours, where a meter was left running. -#}
{%- macro longest_hours() -%} 6 {%- endmacro -%}

{#- Numeric all the way: `date_part` gives a double, whose cast to numeric costs as much again. -#}
{% macro duration_seconds() -%}
    extract(epoch from dropoff_datetime - pickup_datetime)
{%- endmacro %}

{#- Hundredths as a whole number: rounding a numeric costs three times as much. -#}
{% macro duration_minutes() -%}
    ((date_part('epoch', dropoff_datetime - pickup_datetime) / 0.6)::bigint * 0.01)::numeric(14,2)
{%- endmacro %}

{#- Null for trips without a duration, or with a negative one. -#}
{% macro speed_mph() -%}
    case
        when dropoff_datetime > pickup_datetime then trip_distance * 3600 / {{ duration_seconds() }}
    end::numeric(20,1)
{%- endmacro %}

{#- Null for cash, of which TLC records no tips: 0 would say that nobody tips. -#}
{% macro tip_share(is_cash='payment_type_id = 2') -%}
    case
        when fare_amount > 0 and ({{ is_cash }}) is not true
            then tip_amount / fare_amount
    end::numeric(18,4)
{%- endmacro %}

{% macro is_implausibly_fast() -%}
    case
        when dropoff_datetime > pickup_datetime
            then trip_distance * 3600 > {{ fastest_mph() }} * {{ duration_seconds() }}
    end
{%- endmacro %}

{% macro is_implausibly_long() -%}
    dropoff_datetime > pickup_datetime + interval '{{ longest_hours() }} hours'
{%- endmacro %}

{% macro is_dropoff_before_pickup() -%}
    dropoff_datetime < pickup_datetime
{%- endmacro %}

{% macro is_fare_without_distance() -%}
    trip_distance = 0 and fare_amount > 0
{%- endmacro %}

{% macro has_negative_amount() -%}
    least(fare_amount, tip_amount, tolls_amount, total_amount) < 0
{%- endmacro %}

{% macro is_outside_source_month() -%}
    pickup_datetime < source_month or pickup_datetime >= source_month + interval '1 month'
{%- endmacro %}
