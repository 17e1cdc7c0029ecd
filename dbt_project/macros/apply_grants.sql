{# Of the roles that `grants:` names, those that exist and are marked as this project's own: the
   project works without the role `analyst`, and gives nothing to a stranger of that name. Outside of
   the warehouse, in the target dev, nobody gets anything. Nothing is revoked: people grant what they
   own to colleagues. (flows/warehouse/roles.py makes the role.) #}
{% macro postgres__apply_grants(relation, grant_config, should_revoke) %}
    {% if grant_config and execute and target.name == 'warehouse' %}
        {% for privilege, roles in grant_config.items() %}
            {% set ours %}
                select rolname
                from pg_roles
                where
                    rolname in ('{{ roles | join("', '") }}')
                    and shobj_description(oid, 'pg_authid') like 'nyc-taxi-elt: %'
                    and not has_table_privilege(oid, '{{ relation }}', '{{ privilege }}')
            {% endset %}
            {% for (role,) in rows_of(ours) %}
                {% do run("grant " ~ privilege ~ " on " ~ relation ~ " to " ~ adapter.quote(role)) %}
            {% endfor %}
        {% endfor %}
    {% endif %}
{% endmacro %}
