/// State of a sandbox, seen when one of its endpoints joins.
public enum SandboxSight: Hashable, Sendable {
    /// The namespace does not exist yet: the container is being started, by an engine before 28.
    case missing
    /// There is none of the routes that were looked for.
    case free
    /// There is one, or the namespace could not be read.
    case taken
}
