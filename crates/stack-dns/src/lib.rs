//! Names of a project, answered on 127.0.0.11 in each container.
