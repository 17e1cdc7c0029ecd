{#- Returns the trips whose parts are not the total. -#}
{% test charges_add_up(model) %}
    select
        dataset,
        trip_id,
        total_amount
    from {{ model }}
    where
        fare + rush_hour_and_night + airport + mta_tax + improvement + congestion + cbd_fee + tolls + tip
        + not_in_columns + unexplained <> total_amount
{% endtest %}
