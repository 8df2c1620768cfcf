/// Result of a transaction.
public enum StoreOutcome: Hashable, Sendable {
    case stored
    /// The store's error, and advice for the user.
    case failed(String)
}
