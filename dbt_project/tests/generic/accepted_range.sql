{#- Returns the rows whose value is below the minimum. Missing values pass. -#}
{% test accepted_range(model, column_name, minimum) %}
    select {{ column_name }}
    from {{ model }}
    where {{ column_name }} < {{ minimum }}
{% endtest %}
