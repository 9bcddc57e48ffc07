//! Texts of the page in English and Spanish. `{}` stands for a value.

/// Defines [`Messages`], and its value in each language.
macro_rules! messages {
    ($($name:ident: $english:literal, $spanish:literal;)*) => {
        /// Texts of the page in one language.
        pub(super) struct Messages {
            $(pub(super) $name: &'static str,)*
        }

        pub(super) static ENGLISH: Messages = Messages { $($name: $english,)* };
        pub(super) static SPANISH: Messages = Messages { $($name: $spanish,)* };
    };
}

messages! {
    code: "en", "es";
    decimal_separator: ".", ",";
    ago: "{} ago", "hace {}";

    // Head and foot of the page.
    skip: "To the content", "Al contenido";
    pages: "Pages", "Páginas";
    language: "Language", "Idioma";
    other_language: "Español", "English";
    sign_out: "Sign out", "Cerrar sesión";
    no_answer: "The collector does not answer.", "El colector no responde.";
    data_from: "The data shown is from ", "Los datos mostrados son de ";
    metrics: "Metrics", "Métricas";

    // Sign-in.
    token_required: "A token is required to read.", "Se necesita un token para leer.";
    sign_in: "Sign in", "Iniciar sesión";
    token_of_writer: "This token is for writing.", "Este token es para escribir.";
    token_unknown: "This token is not known.", "Este token no se conoce.";

    // Status of the reports.
    live: "Live", "En directo";
    waiting: "Waiting", "Esperando";
    no_reports: "No reports", "Sin informes";
    catching_up: "Catching up", "Poniéndose al día";
    storage_unavailable: "Storage unavailable", "Almacenamiento no disponible";
    no_report_yet: "No report has arrived yet.", "Aún no ha llegado ningún informe.";
    configure_fleet: "Configure the address of this collector in the fleet: ", "Configura la dirección de este colector en la flota: ";
    no_report_for: "No report for {}.", "Sin informes desde hace {}.";
    outage: "The leader, its connection to this collector, or ZooKeeper is unavailable. Nothing is lost: the fleet keeps its reports and delivers them later.", "El líder, su conexión con este colector o ZooKeeper no están disponibles. No se pierde nada: la flota conserva sus informes y los entrega después.";
    delayed: "Reports of {} ago are arriving.", "Llegan informes de hace {}.";
    store_failed: "Reports cannot be recorded or shown.", "No se pueden guardar ni mostrar informes.";
    fleet_keeps: "The fleet keeps its reports and delivers them later.", "La flota conserva sus informes y los entrega después.";

    // Latest report.
    averages: "Averages", "Medias";
    fleet_average: "average of the fleet", "media de la flota";
    cycle: "cycle", "ciclo";
    quantities: "Quantities", "Magnitudes";
    min: "min", "mín.";
    max: "max", "máx.";
    stddev: "std. deviation", "desv. típica";
    measured: "measured", "medidas";
    excluded: "excluded", "excluidas";

    // Quantities.
    average: "Average", "Media";
    temperature: "Temperature", "Temperatura";
    humidity: "Humidity", "Humedad";
    pressure: "Pressure", "Presión";
    voltage: "Voltage", "Tensión";
    current: "Current", "Corriente";
    power: "Power", "Potencia";
    illuminance: "Illuminance", "Iluminancia";
    count: "Count", "Recuento";
    ratio: "Ratio", "Proporción";

    // Chart.
    time_range: "Time range", "Intervalo de tiempo";
    last_5_minutes: "The last 5 minutes", "Últimos 5 minutos";
    last_hour: "The last hour", "Última hora";
    last_24_hours: "The last 24 hours", "Últimas 24 horas";
    last_7_days: "The last 7 days", "Últimos 7 días";
    last_30_days: "The last 30 days", "Últimos 30 días";
    last_year: "The last year", "Último año";
    one_year: "1 y", "1 a";
    legend_mean: "mean", "media";
    legend_band: "min to max", "mín. a máx.";
    report: "report", "informe";
    reports: "reports", "informes";
    sample: "sample", "muestra";
    samples: "samples", "muestras";
    no_data: "no {what}", "sin {what}";
    legend_epoch: "new leader", "nuevo líder";
    clock_corrected: "clock corrected", "reloj corregido";
    clock_unsynchronised: "clock not synchronised", "reloj sin sincronizar";
    no_data_in_range: "No {what} in this time range.", "No hay {what} en este intervalo.";
    chart_failed: "The chart cannot be drawn.", "No se puede dibujar la gráfica.";
    gap_title: "No {what} for {}", "Sin {what} durante {}";
    epoch_title: "A new leader: epoch {}", "Nuevo líder: época {}";
    summary: "{count}, {mean} on average, from {min} to {max}", "{count}, {mean} de media, de {min} a {max}";
    gap: "gap", "hueco";
    gaps: "gaps", "huecos";
    leader_change: "change of leader", "cambio de líder";
    leader_changes: "changes of leader", "cambios de líder";
    as_table: "As a table", "Como tabla";
    data_as_table: "Data as a table", "Datos como tabla";
    column_from: "From", "Desde";
    column_mean: "Mean", "Media";
    column_min: "Min", "Mín.";
    column_max: "Max", "Máx.";
    column_reports: "Reports", "Informes";
    column_samples: "Samples", "Muestras";
    column_clock: "Clock", "Reloj";

    // Fleet.
    fleet: "The fleet", "La flota";
    leader: "Leader", "Líder";
    leader_for: "leader for", "líder desde hace";
    reports_waiting: "Reports waiting", "Informes en espera";
    nodes: "Nodes", "Nodos";
    last_status: "Last status", "Último estado";
    epoch: "Epoch", "Época";
    leader_badge: "leader", "líder";
    standby: "on standby", "en reserva";
    more_nodes: "and {} more", "y {} más";
    failing: "failing", "con fallos";
    outdated: "no recent data", "sin datos recientes";
    health_unknown: "health unknown", "estado desconocido";
    healthy: "healthy", "en buen estado";

    // Groups, outliers and withheld values.
    group: "Group", "Grupo";
    groups: "Groups", "Grupos";
    value: "Value", "Valor";
    outlier_badge: "outlier", "atípico";
    outliers: "Outliers", "Valores atípicos";
    withheld: "{value} is not reported: {nodes} of {needed} nodes that it needs", "{value} no se informa: {nodes} de los {needed} nodos necesarios";

    // Zones.
    zones: "Zones", "Zonas";
    all_zones: "all zones", "todas las zonas";
    without_zone: "without a zone", "sin zona";
    zones_reporting: "{live} of {all} report", "informan {live} de {all}";
    zones_average: "average of all zones", "media de todas las zonas";
    incomplete_steps: "Steps of the chart without readings of some zones: {}", "Pasos de la gráfica sin lecturas de algunas zonas: {}";
    zones_note: "Each reading of each zone has the same weight. Averages without a number of readings, medians and quantiles are shown only per zone.", "Cada lectura de cada zona tiene el mismo peso. Las medias sin número de lecturas, las medianas y los cuantiles se muestran solo por zona.";

    // List of nodes.
    fleet_field: "Fleet", "Flota";
    find: "Node or sensor", "Nodo o sensor";
    sort: "Order", "Orden";
    sort_name: "By name", "Por nombre";
    sort_age: "Oldest data first", "Datos más antiguos primero";
    sort_highest: "Highest value first", "Valor más alto primero";
    sort_lowest: "Lowest value first", "Valor más bajo primero";
    show: "Show", "Mostrar";
    count_of_one_node: "{found} of 1 node", "{found} de 1 nodo";
    count_of_nodes: "{found} of {all} nodes", "{found} de {all} nodos";
    count_of_old: "{} with old data", "{} con datos antiguos";
    no_nodes: "No nodes found.", "No se han encontrado nodos.";
    no_samples: "No samples of this node.", "No hay muestras de este nodo.";
    one_more_value: "and 1 more value", "y 1 valor más";
    more_values: "and {} more values", "y {} valores más";
    old_data: "old data", "datos antiguos";
    parts: "Parts of the list", "Partes de la lista";
    part: "Page {part} of {parts}", "Página {part} de {parts}";
    previous: "Previous", "Anterior";
    next: "Next", "Siguiente";
    store_unreadable: "The storage cannot be read.", "No se puede leer el almacenamiento.";
    as_csv: "Download as CSV", "Descargar como CSV";

    // Tasks.
    tasks: "Tasks", "Tareas";
    live_tasks: "{} in progress or waiting", "{} en curso o en espera";
    ended: "ended", "terminó";
    submitted: "submitted", "enviada";
    nodes_ended: "Nodes that have ended", "Nodos que han terminado";
    node: "node {}", "nodo {}";
    one_node: "one node", "un nodo";
    nodes_done: "{done} of {all} nodes done", "{done} de {all} nodos listos";
    nodes_failed: "{} failed", "{} con fallo";
    task_queued: "queued", "en cola";
    task_waiting: "waiting to retry", "espera reintento";
    task_assigned: "in progress", "en curso";
    task_done: "done", "hecha";
    task_failed: "failed", "con fallo";
    task_timed_out: "timed out", "tiempo agotado";
    task_cancelled: "cancelled", "cancelada";
    task_lost: "lost", "perdida";
    task_expired: "not started in time", "no empezó a tiempo";
    task_skipped: "skipped", "omitida";
    task_unknown: "unknown", "desconocido";
}
