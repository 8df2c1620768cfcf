public import Fuzzing
import OverlayDriver

@testable import OverlayPluginServer

@_silgen_name("fuzzTarget") public func target() -> Target {
    let texts = [
        "{}", "[]", " null ", "true", "false", "-0.5e+10", "12", #""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x""#,
        #"{"a":[1,2.5,{"b":null,"c":"d"}],"a":true}"#, String(repeating: "[", count: 64) + String(repeating: "]", count: 64),
        String(repeating: #"{"a":"#, count: 65),
    ]
    return Target(seeds: texts.map { Array($0.utf8) }) { bytes in
        guard let value = try? JSONText.parse(bytes) else { return }
        let text = JSONText.render(value)
        require((try? JSONText.parse(text)) == value, "\(value) is itself after it was written")
    }
}
