{#-
    Returns the words in the place of codes that a staging model's list of spellings lacks, and the
    number of their rows. Their codes are null. A word that is added to the list counts from the
    next build of its months on. `built` is the model after which the months to test are known.
-#}
{% test known_spellings(model, built) %}
    -- after {{ built }}
    select
        source_month,
        unknown_spellings,
        count(*) as trips
    from {{ model }}
    where unknown_spellings is not null
    group by source_month, unknown_spellings
{% endtest %}
