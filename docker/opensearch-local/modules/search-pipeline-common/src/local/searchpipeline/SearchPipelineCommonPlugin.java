package local.searchpipeline;

import java.util.Map;
import org.opensearch.plugins.Plugin;
import org.opensearch.plugins.SearchPipelinePlugin;
import org.opensearch.search.pipeline.Processor;
import org.opensearch.search.pipeline.SearchRequestProcessor;
import org.opensearch.search.pipeline.SearchResponseProcessor;

/** Replaces the official module of the same name, whose jar is not published. Has the two of its processors that a rerank pipeline needs. */
public class SearchPipelineCommonPlugin extends Plugin implements SearchPipelinePlugin {

    @Override
    public Map<String, Processor.Factory<SearchRequestProcessor>> getRequestProcessors(Parameters parameters) {
        return Map.of(Oversample.TYPE, Oversample::create);
    }

    @Override
    public Map<String, Processor.Factory<SearchResponseProcessor>> getResponseProcessors(Parameters parameters) {
        return Map.of(TruncateHits.TYPE, TruncateHits::create);
    }
}
